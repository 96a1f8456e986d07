"""`ResilienceError`, the root of the tree: what every error of this library knows about itself."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple, Self, TypedDict, Unpack

from creatormate_resilience.exceptions._problem import read_problem, render_problem, time_from
from creatormate_resilience.exceptions._vocabulary import ErrorCategory, Severity
from creatormate_resilience.redaction import redact, redact_text

__all__ = ("ErrorOptions", "ResilienceError", "exception_chain")

_CODE = re.compile(r"[A-Z][A-Z0-9_]{1,61}[A-Z0-9]")  # google.rpc.ErrorInfo.reason
_CHAIN_LIMIT = 10


class _RetryAdvice(NamedTuple):
    retryable: bool
    stated: float | None
    """Seconds that the raiser or an upstream named."""
    default: float | None
    """Seconds that a class names where nobody did."""


class ErrorOptions(TypedDict, total=False):
    """Keyword arguments that every error takes; see `ResilienceError`."""

    user_message: str | None
    context: Mapping[str, object] | None
    public: Mapping[str, object] | None
    errors: Sequence[Mapping[str, object]] | None
    retryable: bool | None
    retry_after: float | None
    headers: Mapping[str, str] | None
    error_id: str | None


_OPTIONS = frozenset(ErrorOptions.__annotations__)


def exception_chain(exc: BaseException) -> Iterator[BaseException]:
    """The causes of an exception, nearest first, without the exception itself; cycles and long chains end.

    Args:
        exc: Where to start.

    Yields:
        `__cause__`, or `__context__` where it is not suppressed, and so on; ten at most.
    """
    seen = {id(exc)}
    current = exc
    for _ in range(_CHAIN_LIMIT):
        cause = current.__cause__
        if cause is None and not current.__suppress_context__:
            cause = current.__context__
        if cause is None or id(cause) in seen:
            return
        seen.add(id(cause))
        yield cause
        current = cause


def _no_advice(_: BaseException) -> ResilienceError | None:
    return None


class ResilienceError(Exception):
    """Root of all errors of this library, and a base for an application's own.

    Args:
        detail: For operators; goes to logs, never to a response. `str(error)` is this text.
        user_message: For end users; without it the class's own.
        context: For operators; plain data for the log, redacted there.
        public: For API clients; an explicit allowlist that is sent in responses.
        errors: For API clients; field errors, each `{"pointer": "#/age", "code": ..., "detail": ...}`, without input.
        retryable: Whether trying again may help. Left out, the class and the cause decide.
        retry_after: Seconds to wait before trying again; what is no finite time counts as left out. Left out, the cause
            and the class decide.
        headers: Response headers that belong to this error.
        error_id: Left out, one is made when first asked for.

    A subclass sets class attributes; a `code` of its own must be unique and match `[A-Z][A-Z0-9_]+[A-Z0-9]`.
    """

    code: ClassVar[str] = "RESILIENCE_ERROR"
    category: ClassVar[ErrorCategory] = ErrorCategory.INTERNAL
    status_code: ClassVar[int] = 500
    grpc_code: ClassVar[str] = "INTERNAL"
    severity: ClassVar[Severity] = Severity.ERROR
    default_retryable: ClassVar[bool] = False
    default_retry_after: ClassVar[float | None] = None
    default_user_message: ClassVar[str] = "Something went wrong on our side. Please try again later."
    wraps_causes: ClassVar[bool] = False
    """True for the roots of families that only wrap: they say of retrying what their cause says."""
    advise: ClassVar[Callable[[BaseException], ResilienceError | None]] = staticmethod(_no_advice)
    """The mapped form of a foreign cause, or None. `_mapping`, which knows all types, puts its function here."""

    def __init__(self, detail: str | None = None, **options: Unpack[ErrorOptions]) -> None:
        if unknown := options.keys() - _OPTIONS:
            names, accepted = (", ".join(map(repr, sorted(names))) for names in (unknown, _OPTIONS))
            raise TypeError(f"{type(self).__name__} got the unknown option {names}; accepted are {accepted}")
        super().__init__(detail)
        self.detail = detail
        self.user_message = options.get("user_message") or self.default_user_message
        self.context = dict(options.get("context") or {})
        self.public = dict(options.get("public") or {})
        self.errors = tuple(options.get("errors") or ())
        self.headers = dict(options.get("headers") or {})
        self._retryable = options.get("retryable")
        self._retry_after = time_from(options.get("retry_after"))
        self._error_id = options.get("error_id")
        self._frozen_chain: tuple[str, ...] | None = None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        code = cls.__dict__.get("code")
        if code is None:
            return
        if not isinstance(code, str) or not _CODE.fullmatch(code):
            raise TypeError(
                f"{cls.__qualname__}.code is {code!r}; accepted are 3 to 63 of A-Z, 0-9 and _, starting with a letter"
            )
        for other in ResilienceError.all_types():
            if other.code == code and _name(other) != _name(cls) and not issubclass(cls, other):
                raise TypeError(
                    f"{cls.__qualname__}.code {code!r} is taken by {_name(other)}; give it a code of its own"
                )

    @classmethod
    def all_types(cls) -> Iterator[type[ResilienceError]]:
        """This class and every subclass known to the process, parents first."""
        yield cls
        for child in cls.__subclasses__():
            yield from child.all_types()

    def __str__(self) -> str:
        return str(self.user_message) if self.detail is None else _printed(self.detail)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.code}: {redact_text(str(self), 200)}>"

    @property
    def error_id(self) -> str:
        """Names this occurrence in responses and logs alike; made when first asked for."""
        if self._error_id is None:
            self._error_id = str(uuid.uuid4())
        return self._error_id

    @property
    def retryable(self) -> bool:
        """Whether trying again may help. Advice about the error, not permission: is the operation idempotent?"""
        return self._retry_advice().retryable

    @property
    def retry_after(self) -> float | None:
        """Seconds to wait before trying again, where known; for the client that gets this error."""
        advice = self._retry_advice()
        return advice.default if advice.stated is None else advice.stated

    @property
    def stated_retry_after(self) -> float | None:
        """`retry_after` where the raiser or an upstream named it; None where it would be a class's default."""
        return self._retry_advice().stated

    def _retry_advice(self) -> _RetryAdvice:
        family: list[ResilienceError] = [self]
        advice: _RetryAdvice | None = None
        for cause in exception_chain(self):  # ends on cycles, so this does too
            # What merely was being handled means something to a wrapper only; a definite error speaks for itself.
            if cause is not family[-1].__cause__ and not family[-1].wraps_causes:
                break
            if not isinstance(cause, ResilienceError):
                mapped = ResilienceError.advise(cause)
                advice = None if mapped is None else mapped._own_advice(None)
                break
            family.append(cause)
        for error in reversed(family):
            advice = error._own_advice(advice)
        assert advice is not None  # noqa: S101 - the family has at least this error
        return advice

    def _own_advice(self, cause: _RetryAdvice | None) -> _RetryAdvice:
        own = _RetryAdvice(self.default_retryable, None, self.default_retry_after)
        if cause is not None and (self.default_retryable or self.wraps_causes):
            default = own.default if cause.default is None else cause.default
            own = _RetryAdvice(cause.retryable, cause.stated, default)
        retryable = own.retryable if self._retryable is None else self._retryable
        stated = own.stated if self._retry_after is None else self._retry_after
        return _RetryAdvice(retryable, stated, own.default)

    @property
    def cause_chain(self) -> tuple[str, ...]:
        """The causes as `module.Type: message` lines, redacted; kept when the error crosses processes."""
        if self._frozen_chain is not None:
            return self._frozen_chain
        return tuple(_describe(cause) for cause in exception_chain(self))

    def __reduce__(self) -> tuple[Any, ...]:
        state = dict(self.__dict__)
        state.update(context=redact(self.context), public=redact(self.public), errors=redact(self.errors))
        state.update(_error_id=self.error_id, _frozen_chain=self.cause_chain, detail=_portable(self.detail))
        state.update(_retryable=self.retryable, _retry_after=self.retry_after)
        state["__cause__"] = self.__cause__ if isinstance(self.__cause__, ResilienceError) else None
        return _rebuild, (type(self), tuple(map(_portable, self.args))), state

    def __setstate__(self, state: dict[str, Any] | None, /) -> None:
        fields = dict(state or {})
        cause = fields.pop("__cause__", None)
        self.__dict__.update(fields)
        self.errors = tuple(self.errors)
        if cause is not None:
            self.__cause__ = cause

    def to_problem(
        self, *, type_base_uri: str | None = None, domain: str | None = None, request_id: str | None = None
    ) -> dict[str, Any]:
        """Render this error for API clients as an RFC 9457 problem document.

        Args:
            type_base_uri: Prefix of `type`; without it `type` is `about:blank`.
            domain: Name of this service, so that a peer knows whose codes these are.
            request_id: Id of the request being answered.

        Returns:
            JSON-safe data with `user_message`, `public` and `errors`; `detail` and `context` are not in it.
        """
        return render_problem(self, type_base_uri=type_base_uri, domain=domain, request_id=request_id)

    @staticmethod
    def from_problem(document: Mapping[str, Any], *, trusted_domain: str | None) -> ResilienceError:
        """Rebuild the error that a peer rendered with `to_problem`.

        Args:
            document: The parsed document.
            trusted_domain: The `domain` it must carry; None trusts whoever sent it, for tests and one's own processes.

        Returns:
            An error of the type that has the document's code; `ResilienceError` where no type has it.

        Raises:
            ValueError: The document is not from `trusted_domain`, or too large.
        """
        code, options = read_problem(document, trusted_domain=trusted_domain)
        cls = next((known for known in ResilienceError.all_types() if known.code == code), ResilienceError)
        error = cls.__new__(cls)  # __init__ is not called: a subclass may ask for arguments the document has not
        ResilienceError.__init__(error, None, **options)
        return error

    def with_cause(self, cause: BaseException) -> Self:
        """This error, caused by that one; for returning what `raise ... from ...` would have raised."""
        self.__cause__ = cause
        return self


def _rebuild(cls: type[ResilienceError], args: tuple[Any, ...]) -> ResilienceError:
    # __init__ is not called: subclasses may ask for arguments that are not known here.
    error = cls.__new__(cls, *args)
    error.args = args
    return error


def _name(cls: type[object]) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"


def _printed(value: object) -> str:
    try:
        return str(value)
    except Exception as error:  # noqa: BLE001 - a foreign __str__ may raise anything; the rest must still be told
        return f"[__str__ raised {type(error).__name__}]"


def _portable(value: object) -> object:
    return value if value is None or isinstance(value, str | int | float) else _printed(value)


def _describe(exc: BaseException) -> str:
    return f"{_name(type(exc))}: {redact_text(_printed(exc), 500)}"
