"""The two upstreams, "YouTube" and "OpenAI", as one local server whose faults can be switched while it runs.

    python -m examples.creator_service.upstreams --port 8001
    curl -X PUT 127.0.0.1:8001/admin/youtube -d '{"kind": "errors", "rate": 0.9}'
    curl 127.0.0.1:8001/admin

Kinds of faults: `ok`, `errors` (500), `latency` (`seconds`), `hang` (never answers), `rate_limit` (429 with
`Retry-After: seconds`), `malformed` (200 with half a body). `rate` is the share of calls that meet the fault.
"""

from __future__ import annotations

import argparse
import asyncio
import functools
import json
import random
import re
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass, field
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from examples.creator_service.serving import add_options, serve

__all__ = ("KINDS", "Fault", "create_upstreams")

KINDS = ("ok", "errors", "latency", "hang", "rate_limit", "malformed")
_USUAL_LATENCY = (0.005, 0.02)


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with an upstream.

    Attributes:
        kind: One of `KINDS`.
        rate: Share of calls that meet it, 0 to 1.
        seconds: Of latency, or of Retry-After.
    """

    kind: str = "ok"
    rate: float = 1.0
    seconds: float = 1.0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"kind is {self.kind!r}; accepted are {', '.join(KINDS)}")
        if not 0 <= self.rate <= 1 or not 0 <= self.seconds <= 3600:
            raise ValueError("accepted are a rate from 0 to 1 and seconds from 0 to 3600")


@dataclass(slots=True)
class _Upstream:
    fault: Fault = field(default_factory=Fault)
    calls: dict[str, int] = field(default_factory=dict[str, int])
    """By user agent, so that services can share the server and be told apart."""

    async def answer(self, request: Request, make: Callable[[Request], Awaitable[Any]]) -> Response:
        caller = request.headers.get("user-agent", "unknown")
        self.calls[caller] = self.calls.get(caller, 0) + 1
        document = await make(request)
        await asyncio.sleep(random.uniform(*_USUAL_LATENCY))  # noqa: S311
        struck = random.random() < self.fault.rate  # noqa: S311
        return await self._faulty(request, document) if struck else JSONResponse(document)

    async def _faulty(self, request: Request, document: Any) -> Response:
        match self.fault.kind:
            case "errors":
                return JSONResponse({"error": {"message": "Internal error at shard-7.internal"}}, 500)
            case "latency":
                await asyncio.sleep(self.fault.seconds)
            case "hang":
                while (await request.receive())["type"] != "http.disconnect":
                    pass
            case "rate_limit":
                headers = {"retry-after": str(round(self.fault.seconds))}
                return JSONResponse({"error": {"message": "Rate limit reached"}}, 429, headers)
            case "malformed":
                whole = json.dumps(document)
                return Response(whole[: len(whole) // 2], media_type="application/json")
            case _:
                pass
        return JSONResponse(document)


def create_upstreams() -> Starlette:
    """The application with both upstreams and their switches."""
    upstreams = {"youtube": _Upstream(), "openai": _Upstream()}

    def endpoint(name: str, make: Callable[[Request], Awaitable[Any]]) -> Callable[[Request], Awaitable[Response]]:
        return functools.partial(upstreams[name].answer, make=make)

    async def show(_request: Request) -> Response:
        return JSONResponse({name: asdict(upstream) for name, upstream in upstreams.items()})

    async def switch(request: Request) -> Response:
        upstream = upstreams.get(request.path_params["name"])
        if upstream is None:
            return JSONResponse({"error": f"accepted are {', '.join(upstreams)}"}, 404)
        try:
            upstream.fault = Fault(**json.loads(await request.body()))
        except (TypeError, ValueError) as error:
            return JSONResponse({"error": str(error)}, 400)
        return JSONResponse(asdict(upstream.fault))

    return Starlette(
        routes=[
            Route("/youtube/v3/videos", endpoint("youtube", _videos)),
            Route("/youtube/v3/commentThreads", endpoint("youtube", _comments)),
            Route("/v1/chat/completions", endpoint("openai", _completion), methods=["POST"]),
            Route("/admin", show),
            Route("/admin/{name}", switch, methods=["PUT"]),
        ]
    )


async def _videos(request: Request) -> Any:
    channel = request.query_params.get("channelId", "")
    dice = random.Random(f"videos of {channel}")  # noqa: S311 - a channel has the same videos each time
    items: list[Any] = []
    for number in range(1, 6):
        views = dice.randrange(1_000, 2_000_000)
        counts = {"viewCount": views, "likeCount": views // dice.randrange(10, 60), "commentCount": views // 900}
        subject = dice.choice(("bread", "steel", "music", "code"))
        items.append({
            "id": f"{dice.getrandbits(44):011x}",
            "snippet": {"channelId": channel, "title": f"How {subject} works, part {number}"},
            "statistics": {name: str(count) for name, count in counts.items()},
        })  # fmt: skip
    return {"kind": "youtube#videoListResponse", "items": items}


async def _comments(request: Request) -> Any:
    channel = request.query_params.get("channelId", "")
    dice = random.Random(f"comments of {channel}")  # noqa: S311
    said = ("more of this, please", "too long for me", "the sound is low", "best one this year", "I disagree at 3:10")
    items: list[Any] = []
    for text in dice.sample(said, k=4):
        comment = {"textDisplay": text, "likeCount": dice.randrange(500)}
        items.append({"snippet": {"topLevelComment": {"snippet": comment}}})
    return {"kind": "youtube#commentThreadListResponse", "items": items}


async def _completion(request: Request) -> Any:
    """As deep as a local model gets: it quotes the fact with the largest number."""
    asked = json.loads(await request.body())
    prompt: str = asked["messages"][-1]["content"]
    facts = [line.removeprefix("- ") for line in prompt.splitlines() if line.startswith("- ")]
    text = f"What stands out: {max(facts, key=_largest_number)}." if facts else "There is nothing to go by."
    return {
        "id": f"chatcmpl-{random.getrandbits(64):016x}",
        "object": "chat.completion",
        "model": asked["model"],
        "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": len(prompt) // 4, "completion_tokens": len(text) // 4},
    }


def _largest_number(fact: str) -> int:
    return max((int(number.replace(",", "")) for number in re.findall(r"\d[\d,]*", fact)), default=0)


def main() -> None:
    """Run the upstreams as a process of their own."""
    parser = argparse.ArgumentParser(description="Local stand-ins for YouTube and OpenAI with switchable faults.")
    add_options(parser, port=8001)
    options = parser.parse_args()
    serve(create_upstreams(), port=options.port, end_with_stdin=options.end_with_stdin)


if __name__ == "__main__":
    main()
