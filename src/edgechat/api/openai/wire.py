"""Request schema of OpenAI's chat API as edgechat honours it.

Two tables tell the exceptions of fields.py: NEUTRAL, known parameters at the value that changes nothing, and INERT,
those that never change an answer.
"""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, StrictBool, StrictInt, field_validator

from edgechat.api.fields import CHOICES, TOP, Drawn, Many, MaxTokens, Neutral, Strict, User
from edgechat.api.openai.functions import Choice, ResponseFormat, Tools, choice_of
from edgechat.api.openai.turns import ChatMessage
from edgechat.api.tools import checked
from edgechat.errors import InvalidRequest
from edgechat.types import GenRequest, Guards, Sampling

# Accepted at these values only: they ask for nothing.
NEUTRAL: Neutral = {
    "audio": (),
    "functions": ([],),
    "function_call": ("none", "auto"),
    "modalities": (["text"],),
    "moderation": (),
    "prediction": (),
    "prompt_cache_options": (),
    "service_tier": ("auto", "default"),
    "store": (False,),
    "verbosity": ("medium",),
    "web_search_options": (),
}
# Accepted at any value: they say something about the request, not about the answer.
INERT = ("metadata", "prompt_cache_key", "prompt_cache_retention", "safety_identifier")


class StreamOptions(Strict):
    """What a stream carries besides the answer."""

    include_usage: StrictBool = False
    include_obfuscation: Literal[False] = False


class GuardOptions(Strict):
    """Which of the guards for small models are on: all that are not turned off."""

    cap: StrictBool = True
    loop: StrictBool = True
    repair: StrictBool = True
    close: StrictBool = True


class TemplateOptions(Strict):
    """What a request may tell the model's template."""

    enable_thinking: StrictBool | None = None


class ChatRequest(Drawn):
    """Body of POST /v1/chat/completions. A parameter that is null was not given."""

    neutral: ClassVar = NEUTRAL
    inert: ClassVar = INERT

    messages: Annotated[Many[ChatMessage], Field(min_length=1, max_length=10_000)]
    model: str | None = None
    stream: StrictBool | None = None
    stream_options: StreamOptions | None = None
    n: Annotated[StrictInt, Field(ge=1, le=CHOICES)] | None = None
    max_tokens: MaxTokens | None = None
    max_completion_tokens: MaxTokens | None = None
    logprobs: StrictBool | None = None
    top_logprobs: Annotated[StrictInt, Field(ge=0, le=TOP)] | None = None
    tools: Tools | None = None
    tool_choice: Choice | None = None
    parallel_tool_calls: StrictBool | None = None
    response_format: ResponseFormat | None = None
    reasoning_effort: Literal["none", "medium"] | None = None  # medium: as much as the model likes
    enable_thinking: StrictBool | None = None
    chat_template_kwargs: TemplateOptions | None = None
    truncation: Literal["auto", "disabled"] | None = None
    guards: GuardOptions = GuardOptions()
    user: User | None = None

    @field_validator("guards", mode="before")
    @classmethod
    def _guards_given(cls, guards: Any) -> Any:
        return GuardOptions() if guards is None else guards

    def generation(self, defaults: Sampling) -> GenRequest:
        """What the engine is asked for. What the request leaves open comes from `defaults`, the model's own."""
        choice, names = choice_of(self.tool_choice)
        wanted = GenRequest(
            messages=tuple(message.value() for message in self.messages),
            sampling=self.sampling(defaults),
            max_tokens=self._limit(),
            stop=self.stops(),
            truncation=self.truncation or "auto",
            tools=tuple(tool.value() for tool in self.tools or ()),
            tool_choice=choice,
            tool_names=names,
            parallel_tool_calls=self.parallel_tool_calls is not False,
            schema=self.response_format.schema_text() if self.response_format else None,
            logprobs=self._logprobs(),
            thinking=self._thinking(),
            guards=Guards(**self.guards.model_dump()),
            user=self.user or "",
        )
        return checked(wanted, "messages.{at}.tool_call_id")

    def _limit(self) -> int | None:
        old, new = self.max_tokens, self.max_completion_tokens
        if old is not None and new is not None and old != new:
            raise InvalidRequest("max_tokens and max_completion_tokens say different things.", "max_tokens")
        return old or new

    def _logprobs(self) -> int | None:
        if self.logprobs:
            return self.top_logprobs or 0
        if self.top_logprobs:
            raise InvalidRequest("top_logprobs go with logprobs: true.", "top_logprobs")
        return None

    def _thinking(self) -> bool | None:
        """The one wish, whichever of its three names it came by."""
        options = self.chat_template_kwargs
        wishes = {
            "reasoning_effort": False if self.reasoning_effort == "none" else None,
            "enable_thinking": self.enable_thinking,
            "chat_template_kwargs": None if options is None else options.enable_thinking,
        }
        given = {name: wish for name, wish in wishes.items() if wish is not None}
        if len(set(given.values())) > 1:
            raise InvalidRequest(f"{' and '.join(given)} say different things.", min(given))
        return next(iter(given.values()), None)
