"""Request validation, what the bodies of all dialects are made of: ranges, strictness, and where it ends.

What a dialect knows, and what of it has no effect here, is in two tables of each body: `neutral`, parameters that would
change the answer and are accepted at the values that change nothing, and `inert`, those that cannot. What is inert, or
in no table, is accepted and told (ignored.py), unless it asks for nothing: a name may be in both.
"""

import json
from collections.abc import Iterator
from functools import cache, partial
from typing import Annotated, Any, ClassVar, Self, TypeVar

import msgspec
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    StrictFloat,
    StrictInt,
    StringConstraints,
    ValidationError,
    model_validator,
)
from pydantic_core import InitErrorDetails, PydanticCustomError

from edgechat.models.library import sampled
from edgechat.types import ModelInfo, Sampling

T = TypeVar("T")

Neutral = dict[str, tuple[Any, ...]]
Many = Annotated[list[T], Field(fail_fast=True)]  # of a million bad ones, one complaint is enough


def _as_whole(value: Any) -> Any:
    """16.0 is a whole number in JSON, and what forms send."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


WHOLE = BeforeValidator(_as_whole)
Number = StrictFloat  # takes whole numbers too, and nothing else
Temperature = Annotated[Number, Field(ge=0, le=2)]
TopP = Annotated[Number, Field(ge=0, le=1)]  # 0 leaves the likeliest token
TopK = Annotated[StrictInt, Field(ge=-1, lt=1 << 20), WHOLE, AfterValidator(partial(max, 0))]  # 0 or -1: all of them
MinP = Annotated[Number, Field(ge=0, le=1)]
Repetition = Annotated[Number, Field(gt=0, le=10)]
Penalty = Annotated[Number, Field(ge=-2, le=2)]
Token = Annotated[str, StringConstraints(pattern="^(0|[1-9][0-9]{0,9})$")]  # a token's id, as names of JSON objects are
Bias = dict[Token, Annotated[Number, Field(ge=-100, le=100)]]
Seed = Annotated[StrictInt, Field(ge=-(1 << 63), lt=1 << 63), WHOLE]
MaxTokens = Annotated[StrictInt, Field(ge=1, lt=1 << 31), WHOLE]
Room = Annotated[StrictInt, Field(ge=256, lt=1 << 31), WHOLE]
Stop = Annotated[str, Field(min_length=1, max_length=256)]
Stops = Annotated[Many[Stop], Field(max_length=32)]
User = Annotated[str, Field(max_length=512)]
TokenId = Annotated[StrictInt, Field(ge=0, lt=1 << 31)]
Text = Annotated[str, Field(min_length=1)]
Tokens = Annotated[Many[TokenId], Field(min_length=1)]
Schema = dict[str, Any]

CHOICES = 8  # answers of one request, at most
TOP = 20  # alternatives of one token, at most
Choices = Annotated[StrictInt, Field(ge=1, le=CHOICES), WHOLE]
TopLogprobs = Annotated[StrictInt, Field(ge=0, le=TOP), WHOLE]
# OpenAI's order of JSON, where a dialect has other words for it or none: text all the same would be a wrong answer.
FORMAT: Neutral = {"response_format": ({"type": "text"},)}
ANY_OBJECT = '{"type":"object"}'  # the schema of "some JSON object"


class Strict(BaseModel):
    """A JSON object with no field but the named ones."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def _describe(schema: dict[str, Any], model: type[BaseModel]) -> None:
    """Put a body's tables into its schema."""
    assert issubclass(model, Body)
    schema["additionalProperties"] = True
    properties = schema.setdefault("properties", {})
    for name, values in model.neutral.items():
        properties[name] = {"enum": [*values, None], "description": "accepted at these values only"}
    for name in model.inert:
        properties[name] = {"description": "accepted without effect"}


class Body(Strict):
    """A JSON object of a dialect. A member that is null was not given."""

    model_config = ConfigDict(json_schema_extra=_describe)

    neutral: ClassVar[Neutral] = {}  # accepted at these values: they ask for nothing
    inert: ClassVar[tuple[str, ...]] = ()  # accepted at any value, without effect
    instead: ClassVar[dict[str, str]] = {}  # what to send in the place of a neutral one

    _ignored: tuple[str, ...] = ()  # members that were given, and are no fields

    @model_validator(mode="wrap")
    @classmethod
    def _tolerant(cls, body: Any, build: ModelWrapValidatorHandler[Self]) -> Self:
        if not isinstance(body, dict):
            return build(body)
        given = {name: value for name, value in body.items() if value is not None}
        others = given.keys() - cls.fields()
        silent = {name for name in others & cls.neutral.keys() if _asks_nothing(given[name], cls.neutral[name])}
        active = [name for name in given if name in others & cls.neutral.keys() - silent and name not in cls.inert]
        if active:
            raise ValidationError.from_exception_data(cls.__name__, [_complaint(body, active[0], cls)])
        if not others:
            return build(given)
        made = build({name: value for name, value in given.items() if name not in others})
        made._ignored = tuple(name for name in given if name in others - silent)
        return made

    @classmethod
    @cache
    def fields(cls) -> frozenset[str]:
        """The names of what is honoured."""
        return frozenset(field.alias or name for name, field in cls.model_fields.items())

    @classmethod
    def known(cls) -> frozenset[str]:
        """Every name that the dialect has here."""
        return cls.fields().union(cls.neutral, cls.inert)

    def without_effect(self, info: ModelInfo) -> Iterator[str]:
        """The members that were given and have no effect on a model like `info`."""
        del info
        yield from self._ignored


class Foreign(Body):
    """Something of a type that somebody else runs or reads: the whole of it has no effect here."""

    type: str

    def without_effect(self, info: ModelInfo) -> Iterator[str]:
        del info
        yield self.type


def _asks_nothing(value: Any, neutral: tuple[Any, ...]) -> bool:
    """Whether `value` is a neutral one. True is not 1 here."""
    return any(type(value) is type(one) and value == one for one in neutral)


def _complaint(body: dict[str, Any], name: str, of: type[Body]) -> InitErrorDetails:
    values = " or ".join(json.dumps(value) for value in of.neutral[name])
    advice = f"send {of.instead[name]} instead" if name in of.instead else "leave it out"
    only = f"honoured only as {values} by this release" if values else f"not honoured by this release: {advice}"
    only += f": {advice}" if values and name in of.instead else ""
    error = PydanticCustomError("not_honoured", "{only}", {"only": only})
    return InitErrorDetails(type=error, loc=(name,), input=body[name])


class Draw(Strict):
    """How an answer's tokens are drawn. What is left out is the model's own."""

    temperature: Temperature | None = None
    top_p: TopP | None = None
    top_k: TopK | None = None
    min_p: MinP | None = None
    repetition_penalty: Repetition | None = None
    frequency_penalty: Penalty | None = None
    presence_penalty: Penalty | None = None
    seed: Seed | None = None


class Drawn(Draw, Body):
    """The same in OpenAI's words: with a bias, and where the answer stops."""

    logit_bias: Bias | None = None
    stop: Stop | Stops | None = None

    def sampling(self, defaults: Sampling) -> Sampling:
        """`defaults` with what is given here."""
        given = {name: getattr(self, name) for name in Sampling.__struct_fields__}
        bias = None if self.logit_bias is None else {int(token): value for token, value in self.logit_bias.items()}
        return sampled(defaults, **given | {"logit_bias": bias})

    def stops(self) -> tuple[str, ...]:
        """The stop strings."""
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())


def texts_of(given: str | list[int] | list[str] | list[list[int]]) -> tuple[str | tuple[int, ...], ...]:
    """Every text, or its tokens, of a body that takes one or several."""
    if isinstance(given, str):
        return (given,)
    numbers = tuple(one for one in given if isinstance(one, int))
    listed = (one for one in given if not isinstance(one, int))
    return (numbers,) if numbers else tuple(one if isinstance(one, str) else tuple(one) for one in listed)


def json_text(value: Any) -> str:
    """`value` as JSON text."""
    return msgspec.json.encode(value).decode()
