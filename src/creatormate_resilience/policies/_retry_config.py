"""What a retry is set up with, checked when it is made."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TypedDict

from creatormate_resilience.clock import Clock
from creatormate_resilience.events import Listener
from creatormate_resilience.exceptions import ConfigurationError
from creatormate_resilience.options import check_function, check_number, check_text, check_whole, clock_of, listeners_of
from creatormate_resilience.outcome import Classifier, On, classify, predicate
from creatormate_resilience.policies._budget import RetryBudget
from creatormate_resilience.policies._wait import Exponential, Wait

__all__ = ("RetryConfig", "RetryOptions")


class RetryOptions(TypedDict, total=False):
    """The fields of `RetryConfig` as keywords of `Retry`, beside its three parameters."""

    budget: RetryBudget | None
    deadline: float | None
    retry_refusals: bool
    max_retry_after: float
    classify: Classifier
    name: str
    clock: Clock | None
    listeners: Iterable[Listener]


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryConfig:
    """What a `Retry` is set up with.

    Attributes:
        max_attempts: Attempts in all, the first included, 1 to 1000.
        wait: Seconds between attempts; see `exponential` and `constant`. A wait that the error was given, such as an
            upstream's Retry-After, lengthens it; what its class would tell a client does not.
        retry_on: Exception types, or a predicate. None: what the classifier calls a failure and the error itself (see
            `map_exception`) calls retryable. Refusals of ours, such as an open circuit, only where a deadline is
            known and their wait fits into it.
        budget: Bounds further attempts to a share of the traffic; where it is empty the failure is raised as it is.
        deadline: Seconds for all attempts together. No attempt starts after it, and inner policies see it; interrupting
            an attempt is what `Timeout` is for. None: only a deadline from outside counts.
        retry_refusals: False never retries our own refusals, so that an open circuit fails at once.
        max_retry_after: Longest `retry_after` obeyed, in seconds; an error that asks for more is not retried.
        classify: Replaces the default classifier.
        name: In events.
        clock: Where waiting is done.
        listeners: Told of `RetryScheduled` and `RetryBudgetExhausted`.

    Raises:
        ConfigurationError: A value is not accepted.
    """

    max_attempts: int = 3
    wait: Wait = field(default_factory=Exponential)
    retry_on: On | None = None
    budget: RetryBudget | None = None
    deadline: float | None = None
    retry_refusals: bool = True
    max_retry_after: float = 60.0
    classify: Classifier = classify
    name: str = "retry"
    clock: Clock | None = None
    listeners: Iterable[Listener] = ()

    def __post_init__(self) -> None:
        check_whole("max_attempts", self.max_attempts, 1, 1000)
        check_number("max_retry_after", self.max_retry_after, "seconds", above_zero=False)
        check_text("name", self.name)
        if self.deadline is not None:
            check_number("deadline", self.deadline, "seconds", most=1e9)
        check_function(
            "wait", self.wait, "accepted is a function of attempts and a random number, such as constant(0.5)"
        )
        if self.retry_on is not None:
            predicate("retry_on", self.retry_on)
        if self.budget is not None and not isinstance(self.budget, RetryBudget):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ConfigurationError(f"budget is {self.budget!r}; accepted is a RetryBudget, or None")
        if not isinstance(self.retry_refusals, bool):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ConfigurationError(f"retry_refusals is {self.retry_refusals!r}; accepted are True and False")
        check_function("classify", self.classify, "accepted is a function of an Outcome")
        clock_of(self.clock)
        object.__setattr__(self, "listeners", listeners_of(self.listeners))
