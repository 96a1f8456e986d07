"""The upstreams as this service sees them. Each call goes through a `Policy`, and each failure gets its right name."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import httpx

from creatormate_resilience.exceptions import ExternalAPIProtocolError, upstream_error
from creatormate_resilience.policy import Policy

__all__ = ("OpenAI", "YouTube")


class YouTube:
    """What YouTube knows of a channel, as lines of text.

    Args:
        http: Its base URL is YouTube's.
        policy: Around each call, such as `r.service("youtube_api")`.
    """

    def __init__(self, http: httpx.AsyncClient, policy: Policy) -> None:
        self._http = http
        self._policy = policy

    async def videos(self, channel_id: str) -> list[str]:
        """The latest videos and how they did."""
        return await self._policy.acall(self._videos, channel_id)

    async def comments(self, channel_id: str) -> list[str]:
        """The latest comments and how they were liked."""
        return await self._policy.acall(self._comments, channel_id)

    async def _videos(self, channel_id: str) -> list[str]:
        response = await self._http.get("/youtube/v3/videos", params={"channelId": channel_id})
        with _reading("YouTube", response) as document:
            return [_video(item["snippet"], item["statistics"]) for item in document["items"]]

    async def _comments(self, channel_id: str) -> list[str]:
        response = await self._http.get("/youtube/v3/commentThreads", params={"channelId": channel_id})
        with _reading("YouTube", response) as document:
            comments = [item["snippet"]["topLevelComment"]["snippet"] for item in document["items"]]
            return [f'"{comment["textDisplay"]}" with {comment["likeCount"]:,} likes' for comment in comments]


class OpenAI:
    """A language model.

    Args:
        http: Its base URL is OpenAI's.
        policy: Around each call, such as `r.service("openai_api")`.
    """

    def __init__(self, http: httpx.AsyncClient, policy: Policy) -> None:
        self._http = http
        self._policy = policy

    async def complete(self, instruction: str, prompt: str) -> str:
        """What the model answers."""
        return await self._policy.acall(self._complete, instruction, prompt)

    async def _complete(self, instruction: str, prompt: str) -> str:
        messages = [{"role": "system", "content": instruction}, {"role": "user", "content": prompt}]
        response = await self._http.post("/v1/chat/completions", json={"model": "gpt-demo", "messages": messages})
        with _reading("OpenAI", response) as document:
            return str(document["choices"][0]["message"]["content"])


@contextmanager
def _reading(service: str, response: httpx.Response) -> Generator[Any]:
    """The body of an answer; what cannot be read is the upstream's fault, not ours."""
    if response.is_error:
        raise upstream_error(service, response.status_code, retry_after=response.headers.get("retry-after"))
    try:
        yield response.json()
    except (ValueError, LookupError, TypeError) as error:
        raise ExternalAPIProtocolError(service, f"{type(error).__name__}: {error}") from error


def _video(snippet: Any, statistics: Any) -> str:
    return f'"{snippet["title"]}" with {int(statistics["viewCount"]):,} views, {int(statistics["likeCount"]):,} likes'
