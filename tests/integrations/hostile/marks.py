"""Marks that stand in hostile input: what must not come out anywhere, and what only operators may see."""

from __future__ import annotations

import base64
import json
from typing import NamedTuple

SECRET = "S3cr3tM4rk"
"""Begins each secret: in no answer and in no log line."""
SECRET_END = "xyzzyplover"
"""Ends each secret, because half a secret is one too."""
INTERNAL = "0perat0rM4rk"
"""Begins what operators may see in the log, and clients never."""


class Words(NamedTuple):
    """The marks of one row, in the forms in which secrets are met."""

    number: int

    @property
    def secret(self) -> str:
        return f"{SECRET}-{self.number:04d}-{SECRET_END}"

    @property
    def internal(self) -> str:
        return f"{INTERNAL}-{self.number:04d}-plugh"

    @property
    def dsn(self) -> str:
        return f"postgresql://app:{self.secret}@db.internal:5432/prod"

    @property
    def bearer(self) -> str:
        return f"Bearer {self.secret}"

    @property
    def jwt(self) -> str:
        claims = base64.urlsafe_b64encode(json.dumps({"sub": self.secret}).encode()).decode().rstrip("=")
        return f"eyJhbGciOiJIUzI1NiJ9.{claims}.{self.secret}"

    @property
    def key(self) -> str:
        return f"sk-proj-{self.secret}"

    @property
    def pem(self) -> str:
        kind = "RSA PRIVATE KEY"
        return f"-----BEGIN {kind}-----\nMIIE{self.secret}\n-----END {kind}-----"

    @property
    def all(self) -> str:
        """Every form in one text."""
        return f"{self.dsn} {self.jwt} {self.bearer} {self.key} password={self.secret} ?token={self.secret}&a=1"


def _forms(*texts: str) -> tuple[bytes, ...]:
    return tuple(form.lower() for text in texts for form in _forms_of(text.encode()))


def _forms_of(raw: bytes) -> list[bytes]:
    percent = b"".join(b"%%%02x" % byte for byte in raw)
    escaped = b"".join(b"\\u%04x" % byte for byte in raw)
    # Of base64 only what does not depend on the bytes before and behind, for each of the three places in a group.
    encoded = [base64.b64encode(raw[skip : skip + (len(raw) - skip) // 3 * 3]) for skip in range(3)]
    return [raw, raw[::-1], raw.hex().encode(), percent, escaped, *encoded]


_SECRETS = _forms(SECRET, SECRET_END)
_INTERNALS = _forms(INTERNAL)


def _found(data: bytes, forms: tuple[bytes, ...]) -> list[bytes]:
    lowered = data.lower()
    places = (lowered.find(form) for form in forms)
    return [data[max(0, place - 60) : place + 40] for place in places if place >= 0]


def secrets_in(data: bytes) -> list[bytes]:
    """Where some bytes hold of a secret: plain, reversed, in hex, base64, percent or JSON escapes, in any case."""
    return _found(data, _SECRETS)


def internals_in(data: bytes) -> list[bytes]:
    """The same of secrets, and of what is for operators only."""
    return _found(data, _SECRETS + _INTERNALS)
