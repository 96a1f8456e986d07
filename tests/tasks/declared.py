"""Functions that workers elsewhere could run, and some that only look so."""

from __future__ import annotations

from typing import Any

from creatormate_resilience.tasks import task


@task(name="portable")
async def portable(*args: Any, **kwargs: Any) -> Any:
    return args, kwargs


async def undeclared() -> None:
    pass


class Methods:
    @task()
    async def method(self) -> None:
        pass

    @staticmethod
    @task()
    def static() -> None:
        pass


class Answers:
    """A client that answers to every name, as proxies of remote services do."""

    asked: list[str]

    def __init__(self) -> None:
        self.asked = []

    def __getattr__(self, name: str) -> Any:
        self.asked.append(name)
        return self

    def __call__(self) -> None:
        self.asked.append("called")


proxy = Answers()
loaded: list[str] = []


def __getattr__(name: str) -> Any:
    loaded.append(name)
    raise AttributeError(name)
