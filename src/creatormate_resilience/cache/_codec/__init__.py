"""Values as bytes and back, the same in type and in value. Never pickle: bytes from a shared server must not run code.

What MessagePack has no word for travels as an extension type. Models, dataclasses, enums and the like are taken apart
and put together by pydantic, for a type that was given or declared. What cannot be told faithfully is refused at once,
naming the type.
"""

from __future__ import annotations

from creatormate_resilience.cache._codec._shareable import shareable
from creatormate_resilience.cache._codec._values import ValueCodec

__all__ = ("ValueCodec", "shareable")
