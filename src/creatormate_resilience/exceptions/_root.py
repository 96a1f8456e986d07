"""`ResilienceError`, the root of the tree: what every error of this library knows about itself."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypedDict, Unpack, cast

from creatormate_resilience.exceptions._advice import RetryAdvice, retry_advice
from creatormate_resilience.exceptions._catalog import MessageCatalog, translated
from creatormate_resilience.exceptions._chain import describe, exception_chain, printed
from creatormate_resilience.exceptions._portable import portable_state, portable_text, rebuild, type_path
from creatormate_resilience.exceptions._problem import is_error_id, read_problem, render_problem, time_from
from creatormate_resilience.exceptions._registry import check_declaration, known_type, types_below
from creatormate_resilience.exceptions._vocabulary import ErrorCategory, Severity
from creatormate_resilience.redaction import redact, redact_text

__all__ = ("ErrorOptions", "ResilienceError")


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


_KINDS: Mapping[str, tuple[type[Any], ...]] = MappingProxyType({
    "user_message": (str,), "context": (dict, Mapping), "public": (dict, Mapping), "errors": (list, tuple, Sequence),
    "retryable": (bool,), "retry_after": (float, int), "headers": (dict, Mapping), "error_id": (str,),
})  # fmt: skip


def _check_options(cls: type[object], options: Mapping[str, object]) -> None:
    for name, value in options.items():
        kinds = _KINDS.get(name)
        if kinds is None:
            raise TypeError(
                f"{cls.__name__} got the unknown option {name!r}; accepted are {', '.join(map(repr, sorted(_KINDS)))}"
            )
        if value is None or type(value) in kinds:
            continue
        if not isinstance(value, kinds) or (isinstance(value, bool | str | bytes) and kinds != (str,)):
            accepted = " or ".join(kind.__name__ for kind in kinds)
            raise TypeError(
                f"{cls.__name__}: {name} is of type {type(value).__name__}; accepted is {accepted}, or None"
            )


def _no_advice(_: BaseException) -> ResilienceError | None:
    return None


if TYPE_CHECKING:
    from functools import cached_property as made_once
else:

    class made_once:  # noqa: N801 - used like a function
        """`cached_property` as it is from Python 3.12 on: without the lock, which costs an error more than all else."""

        def __init__(self, make: Callable[[Any], Any]) -> None:
            self.__doc__ = make.__doc__
            self._make = make

        def __get__(self, instance: Any, owner: Any = None) -> Any:
            if instance is None:
                return self
            return instance.__dict__.setdefault(self._make.__name__, self._make(instance))


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

    # Errors are made in hot paths (a rejected call, a retried one), so what nobody gave is not made until it is read.
    detail: str | None = None
    errors: tuple[Mapping[str, object], ...] = ()
    _retryable: bool | None = None
    _retry_after: float | None = None
    _error_id: str | None = None
    _frozen_chain: tuple[str, ...] | None = None

    def __init__(self, detail: str | None = None, **options: Unpack[ErrorOptions]) -> None:
        self.detail = detail
        if options:
            _check_options(type(self), options)
            self._take(options)

    def _take(self, options: ErrorOptions) -> None:
        if message := options.get("user_message"):
            self.user_message = message
        if context := options.get("context"):
            self.context = dict(context)
        if public := options.get("public"):
            self.public = dict(public)
        if errors := options.get("errors"):
            self.errors = tuple(errors)
        if headers := options.get("headers"):
            self.headers = dict(headers)
        self._retryable = options.get("retryable")
        self._retry_after = time_from(options.get("retry_after"))
        if (error_id := options.get("error_id")) is not None and not is_error_id(error_id):
            raise ValueError(f"error_id is {error_id!r:.100}; accepted are 1 to 128 of A-Z, a-z, 0-9 and . _ : -")
        self._error_id = error_id

    @made_once
    def user_message(self) -> str:
        """What end users read."""
        return self.default_user_message

    @made_once
    def context(self) -> dict[str, Any]:
        """Details for operators."""
        return {}

    @made_once
    def public(self) -> dict[str, Any]:
        """Details for API clients."""
        return {}

    @made_once
    def headers(self) -> dict[str, str]:
        """Headers of a response."""
        return {}

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        check_declaration(cls, ResilienceError)

    @classmethod
    def all_types(cls) -> Iterator[type[ResilienceError]]:
        """This class and every subclass known to the process, parents first."""
        yield from types_below(cls)

    def __str__(self) -> str:
        return str(self.user_message) if self.detail is None else printed(self.detail)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.code}: {redact_text(str(self), 200)}>"

    @property
    def error_id(self) -> str:
        """Names this occurrence in responses and logs alike; made when first asked for."""
        if self._error_id is None:
            self._error_id = _new_id()
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

    @property
    def given_advice(self) -> tuple[bool | None, float | None]:
        """`retryable` and `retry_after` as the raiser gave them; None for what was left out."""
        return self._retryable, self._retry_after

    def _retry_advice(self) -> RetryAdvice:
        return retry_advice(self, ResilienceError, ResilienceError.advise)

    @property
    def cause_chain(self) -> tuple[str, ...]:
        """The causes as `module.Type: message` lines, redacted; kept when the error crosses processes."""
        if self._frozen_chain is not None:
            return self._frozen_chain
        return tuple(describe(cause) for cause in exception_chain(self))

    def __reduce__(self) -> tuple[Any, ...]:
        state = portable_state(self.__dict__)
        state.update(context=redact(self.context), public=redact(self.public), errors=redact(self.errors))
        state.update(_error_id=self.error_id, _frozen_chain=self.cause_chain, detail=portable_text(self.detail))
        state.update(_retryable=self.retryable, _retry_after=self.retry_after)
        state["__cause__"] = self.__cause__ if isinstance(self.__cause__, ResilienceError) else None
        path = type_path(type(self), ResilienceError)
        return rebuild, (ResilienceError, path, tuple(map(portable_text, self.args))), state

    def __setstate__(self, state: dict[str, Any] | None, /) -> None:
        fields = dict(state or {})
        cause = fields.pop("__cause__", None)
        self.__dict__.update(fields)
        self.errors = tuple(self.errors)
        if cause is not None:
            self.__cause__ = cause

    def for_outside(self) -> ResilienceError:
        """The error that clients may see instead of this one; itself, unless a class conceals something."""
        return self

    def to_problem(
        self,
        *,
        type_base_uri: str | None = None,
        domain: str | None = None,
        request_id: str | None = None,
        catalog: MessageCatalog | None = None,
        locale: str | None = None,
    ) -> dict[str, Any]:
        """Render this error for API clients as an RFC 9457 problem document.

        Args:
            type_base_uri: Prefix of `type`; without it `type` is `about:blank`.
            domain: Name of this service, so that a peer knows whose codes these are.
            request_id: Id of the request being answered.
            catalog: Messages in other languages; a `user_message` of the raiser's stays as it is.
            locale: Which language of the catalog; see `negotiate_locale`.

        Returns:
            JSON-safe data with `user_message`, `public` and `errors`; `detail` and `context` are not in it.
        """
        shown = self.for_outside()
        detail = shown.user_message
        if catalog is not None and locale is not None and detail == shown.default_user_message:
            detail = translated(shown, catalog, locale) or detail
        return render_problem(
            cast("Any", shown), detail, type_base_uri=type_base_uri, domain=domain, request_id=request_id
        )

    @staticmethod
    def from_problem(document: Mapping[str, Any], *, trusted_domain: str) -> ResilienceError:
        """Rebuild the error that a peer rendered with `to_problem`.

        Args:
            document: The parsed document.
            trusted_domain: The `domain` it must carry; `"*"` trusts whoever sent it, for one's own processes. The error
                is as if it were raised here: a peer's 401 is answered as yours, if you let it go.

        Returns:
            An error of the type that has the document's code; `ResilienceError` where no type has it.

        Raises:
            TypeError: `trusted_domain` is no text, or the document no mapping.
            ValueError: The document is not from `trusted_domain`, or too large.
        """
        code, options = read_problem(document, trusted_domain=trusted_domain)
        cls = cast("type[ResilienceError]", known_type(ResilienceError, code) or ResilienceError)
        error = cls.__new__(cls)  # __init__ is not called: a subclass may ask for arguments the document has not
        ResilienceError.__init__(error, None, **options)
        return error

    def with_id(self, error_id: str) -> Self:
        """This error under the id of another one, as which it has been told already."""
        self._error_id = error_id
        return self

    def with_cause(self, cause: BaseException) -> Self:
        """This error, caused by that one; for returning what `raise ... from ...` would have raised."""
        self.__cause__ = cause
        return self


def _new_id() -> str:
    """A random UUID (RFC 9562, version 4), a third of what `uuid.uuid4()` costs."""
    digits = os.urandom(16).hex()
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-a{digits[17:20]}-{digits[20:]}"
