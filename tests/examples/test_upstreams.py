"""The example's upstreams: each fault really happens, over HTTP."""

from __future__ import annotations

import json
import time
from typing import Any

import httpx
import pytest

from .conftest import Upstreams

pytestmark = pytest.mark.anyio

CHAT: dict[str, Any] = {
    "model": "m",
    "messages": [{"role": "user", "content": "What?\n- ten with 10 likes\n- many with 1,200 likes"}],
}


async def videos(upstreams: Upstreams, **options: Any) -> httpx.Response:
    return await upstreams.http.get("/youtube/v3/videos", params={"channelId": "c1"}, **options)


async def test_youtube_tells_the_same_of_a_channel_each_time(upstreams: Upstreams):
    """Videos and comments have the shape of the real API and belong to the channel."""
    first, again = await videos(upstreams), await videos(upstreams)
    assert first.json() == again.json()
    item = first.json()["items"][0]
    assert item["snippet"]["channelId"] == "c1"
    assert int(item["statistics"]["viewCount"]) > 0
    comments = await upstreams.http.get("/youtube/v3/commentThreads", params={"channelId": "c1"})
    assert comments.json()["items"][0]["snippet"]["topLevelComment"]["snippet"]["textDisplay"]


async def test_openai_answers_from_the_prompt(upstreams: Upstreams):
    """The stand-in for a model quotes the fact with the largest number."""
    reply = (await upstreams.http.post("/v1/chat/completions", json=CHAT)).json()
    assert reply["choices"][0]["message"]["content"] == "What stands out: many with 1,200 likes."


async def test_errors_are_500s_at_their_rate(upstreams: Upstreams):
    """With rate 1 all calls fail, with rate 0 none, and the other upstream does not notice."""
    await upstreams.switch("errors", "youtube", rate=1.0)
    assert [(await videos(upstreams)).status_code for _ in range(5)] == [500] * 5
    assert (await upstreams.http.post("/v1/chat/completions", json=CHAT)).status_code == 200
    await upstreams.switch("errors", "youtube", rate=0.0)
    assert [(await videos(upstreams)).status_code for _ in range(5)] == [200] * 5


async def test_a_rate_between_strikes_some(upstreams: Upstreams):
    """At rate 0.5 twenty calls do not all end alike (but once in half a million runs)."""
    await upstreams.switch("errors", "youtube", rate=0.5)
    assert {(await videos(upstreams)).status_code for _ in range(20)} == {200, 500}


async def test_latency_delays_the_answer(upstreams: Upstreams):
    """The answer is whole, and late."""
    await upstreams.switch("latency", "youtube", seconds=0.3)
    started = time.monotonic()
    assert (await videos(upstreams)).json()["items"]
    assert time.monotonic() - started >= 0.3


async def test_hang_never_answers(upstreams: Upstreams):
    """The connection stands, and nothing comes."""
    await upstreams.switch("hang", "youtube")
    with pytest.raises(httpx.ReadTimeout):
        await videos(upstreams, timeout=0.3)


async def test_rate_limit_says_when_to_come_back(upstreams: Upstreams):
    """429 with Retry-After."""
    await upstreams.switch("rate_limit", "youtube", seconds=7)
    response = await videos(upstreams)
    assert (response.status_code, response.headers["retry-after"]) == (429, "7")


async def test_malformed_is_a_200_that_cannot_be_read(upstreams: Upstreams):
    """Half a body that says it is JSON."""
    await upstreams.switch("malformed", "youtube")
    response = await videos(upstreams)
    assert response.status_code == 200
    with pytest.raises(json.JSONDecodeError):
        response.json()


async def test_calls_are_counted_by_caller(upstreams: Upstreams):
    """Also those that meet a fault; switches are not calls."""
    await videos(upstreams)
    await upstreams.switch("errors", "youtube")
    await videos(upstreams)
    await videos(upstreams, headers={"user-agent": "other"})
    seen = (await upstreams.http.get("/admin")).json()
    assert seen["youtube"]["calls"] == {"test": 2, "other": 1}
    assert seen["openai"]["calls"] == {}


@pytest.mark.parametrize(
    "fault", [{"kind": "nope"}, {"kind": "errors", "rate": 2}, {"knd": "ok"}, {"kind": "latency", "seconds": "x"}, 3]
)
async def test_a_fault_that_does_not_exist_is_refused(upstreams: Upstreams, fault: object):
    """400, and the upstream stays as it was."""
    assert (await upstreams.http.put("/admin/youtube", json=fault)).status_code == 400
    assert (await videos(upstreams)).status_code == 200


async def test_an_upstream_that_does_not_exist_is_refused(upstreams: Upstreams):
    """404, naming those there are."""
    response = await upstreams.http.put("/admin/vimeo", json={"kind": "ok"})
    assert response.status_code == 404
    assert "youtube" in response.text
