"""Tokens with which agents prove to each other who they are: claims, signed with HMAC-SHA256."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable, Mapping
from typing import Any

from creatormate_resilience.exceptions import ConfigurationError, InvalidTokenError, TokenExpiredError

__all__ = ("TokenSigner",)

_VERSION = "v1"
_LEAST_SECRET = 32


class TokenSigner:
    """Makes tokens and checks them.

    Args:
        secret: Shared by the agents, at least 32 characters.
        lifetime: Seconds a token is good for.
        now: Wall time; another process has to agree about it, so it cannot be a monotonic clock.

    Raises:
        ConfigurationError: The secret is too short, or the lifetime not above 0.
    """

    def __init__(self, secret: str, *, lifetime: float = 30.0, now: Callable[[], float] = time.time) -> None:
        if len(secret) < _LEAST_SECRET:
            raise ConfigurationError(
                f"AGENT_TOKEN_SECRET has {len(secret)} characters; accepted are {_LEAST_SECRET} or more"
            )
        if not lifetime > 0:
            raise ConfigurationError(f"lifetime is {lifetime!r}; accepted are seconds above 0")
        self._secret = secret.encode()
        self._lifetime = lifetime
        self._now = now

    def issue(self, issuer: str, audience: str) -> str:
        """A token that says who calls whom.

        Args:
            issuer: The agent that calls.
            audience: The only agent that will accept it.

        Returns:
            `v1.claims.signature`.
        """
        claims = {"iss": issuer, "aud": audience, "exp": self._now() + self._lifetime}
        body = f"{_VERSION}.{_encoded(json.dumps(claims).encode())}"
        return f"{body}.{self._signature(body)}"

    def verify(self, token: str, audience: str) -> str:
        """Who is calling.

        Args:
            token: As received; anything.
            audience: The agent that was called.

        Returns:
            The issuer.

        Raises:
            InvalidTokenError: It was not made with this secret, was changed on the way, or is for another agent.
            TokenExpiredError: It was good once.
        """
        body, _, signature = token.rpartition(".")
        # The texts are compared, not the bytes they decode to: base64 has several texts for the same bytes.
        if not hmac.compare_digest(_octets(signature), _octets(self._signature(body))):
            raise InvalidTokenError("the signature does not fit")
        claims = _claims(body)  # from here on they are what an agent wrote
        if claims["aud"] != audience:
            raise InvalidTokenError(f"the token is for {claims['aud']!r}, not for {audience!r}")
        if self._now() >= claims["exp"]:
            raise TokenExpiredError(f"the token of {claims['iss']!r} has expired")
        return str(claims["iss"])

    def _signature(self, body: str) -> str:
        return _encoded(hmac.digest(self._secret, _octets(body), hashlib.sha256))

    def __repr__(self) -> str:
        return f"<TokenSigner lifetime={self._lifetime:g} s>"


def _claims(body: str) -> Mapping[str, Any]:
    version, _, claims = body.partition(".")
    if version != _VERSION:
        raise InvalidTokenError(f"tokens of version {version!r:.20} are not known")
    found: Mapping[str, Any] = json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))
    return found


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def _octets(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
