"""What endpoints validate."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, HttpUrl, field_validator
from pydantic_core import PydanticCustomError


class Cat(BaseModel):
    kind: Literal["cat"]


class Dog(BaseModel):
    kind: Literal["dog"]


class Account(BaseModel):
    """What a client fills in."""

    model_config = ConfigDict(extra="forbid")
    name: str = Field(max_length=50, pattern=r"^[a-z ]*$")
    limit: int = Field(1, ge=1, le=100)
    amount: float = 0.0
    scores: dict[str, int] = {}
    when: datetime | None = None
    ident: UUID | None = None
    url: HttpUrl | None = None
    colour: Literal["red", "green"] = "red"
    pet: Annotated[Cat | Dog, Field(discriminator="kind")] | None = None
    inner: Account | None = None


class Echo(BaseModel):
    """Its validator repeats what it was given, in one way or another."""

    how: str
    value: Any

    @field_validator("value")
    @classmethod
    def _refuse(cls, value: Any, info: Any) -> Any:
        how = info.data["how"]
        if how == "assertion":
            raise AssertionError(f"{value} is odd")
        if how == "custom":
            raise PydanticCustomError("not_known", "The value {given} is not known", {"given": str(value)})
        if how == "custom-without-context":
            raise PydanticCustomError("not_known", f"The value {value} is not known")  # type: ignore[arg-type]
        told = {
            "as-it-is": str(value), "repr": repr(value), "upper": str(value).upper(), "word": str(value).split()[-1],
            "start": str(value)[:18], "strip": str(value).strip("[]{}'\" "),
        }.get(how, "that")  # fmt: skip
        raise ValueError(f"{told} is not known")
