"""Request schema of OpenAI's chat API as edgechat honours it.

The two tables are those of fields.py: NEUTRAL, what would change the answer and is accepted at the values that change
nothing, and INERT, what is accepted without effect.
"""

from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, StrictBool, field_validator

from edgechat.api.fields import Body, Choices, Drawn, Many, MaxTokens, Neutral, Strict, TopLogprobs, User
from edgechat.api.openai.functions import Choice, FunctionTool, ResponseFormat, Tools, choice_of
from edgechat.api.openai.turns import ChatMessage
from edgechat.api.parts import media_of, picture_tokens_of
from edgechat.api.tools import checked
from edgechat.errors import InvalidRequest
from edgechat.types import GenRequest, Guards, ModelInfo, Sampling

# What other engines take beside, and would change the answer, at what asks for nothing there.
ENGINES: Neutral = {
    "add_generation_prompt": (True,),
    "bad_words": ([],),
    "best_of": (1,),
    "chat_template": ("",),
    "continue_final_message": (False,),
    "documents": ([],),
    "grammar": ("",),
    "guided_choice": ([],),
    "guided_grammar": ("",),
    "guided_json": (),
    "guided_regex": ("",),
    "ignore_eos": (False,),
    "json_schema": (),
    "length_penalty": (1, 1.0),
    "logits_processors": ([],),
    "min_tokens": (0,),
    "prompt_logprobs": (),
    "stop_token_ids": ([],),
    "structured_outputs": (),
    "use_beam_search": (False,),
}
NEUTRAL: Neutral = {
    "audio": (),
    "functions": ([],),
    "function_call": ("none", "auto"),
    "modalities": (["text"],),
    "moderation": (),
    "store": (False,),
    "web_search_options": (),
    **ENGINES,
}
# Hints to caches, storage, routing and style.
INERT = (
    "metadata",
    "prediction",
    "prompt_cache_key",
    "prompt_cache_options",
    "prompt_cache_retention",
    "safety_identifier",
    "service_tier",
    "store",  # for dashboards elsewhere: nothing is kept here
    "verbosity",
)
# How hard to think: `none` turns it off and any other one on, where the model can. `medium` is as much as it likes.
Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]
UNHEARD = ("minimal", "low", "high", "xhigh", "max")


class StreamOptions(Body):
    """What a stream carries besides the answer."""

    inert: ClassVar = ("include_obfuscation",)

    include_usage: StrictBool = False


class GuardOptions(Strict):
    """Which of the guards for small models are on: all that are not turned off."""

    cap: StrictBool = True
    loop: StrictBool = True
    repair: StrictBool = True
    close: StrictBool = True


class TemplateOptions(Body):
    """What a request may tell the model's template."""

    enable_thinking: StrictBool | None = None


class ChatRequest(Drawn):
    """Body of POST /v1/chat/completions. A parameter that is null was not given."""

    neutral: ClassVar = NEUTRAL
    inert: ClassVar = INERT
    instead: ClassVar = {"functions": "tools", "function_call": "tool_choice", "guided_json": "response_format"}

    messages: Annotated[Many[ChatMessage], Field(min_length=1, max_length=10_000)]
    model: str | None = None
    stream: StrictBool | None = None
    stream_options: StreamOptions | None = None
    n: Choices | None = None
    max_tokens: MaxTokens | None = None
    max_completion_tokens: MaxTokens | None = None
    logprobs: StrictBool | None = None
    top_logprobs: TopLogprobs | None = None
    tools: Tools | None = None
    tool_choice: Choice | None = None
    parallel_tool_calls: StrictBool | None = None
    response_format: ResponseFormat | None = None
    reasoning_effort: Effort | None = None
    enable_thinking: StrictBool | None = None
    chat_template_kwargs: TemplateOptions | None = None
    truncation: Literal["auto", "disabled"] | None = None
    guards: GuardOptions = GuardOptions()
    user: User | None = None

    @field_validator("guards", mode="before")
    @classmethod
    def _guards_given(cls, guards: Any) -> Any:
        return GuardOptions() if guards is None else guards

    def without_effect(self, info: ModelInfo) -> Iterator[str]:
        yield from super().without_effect(info)
        if self.reasoning_effort in UNHEARD:
            yield "reasoning_effort"
        if self.stop and self._schema() is not None:  # JSON of a schema is whole or none
            yield "stop"

    def generation(self, defaults: Sampling) -> GenRequest:
        """What the engine is asked for. What the request leaves open comes from `defaults`, the model's own."""
        choice, names = choice_of(self.tool_choice)
        wanted = GenRequest(
            messages=tuple(message.value() for message in self.messages),
            media=media_of(self.messages),
            picture_tokens=picture_tokens_of(self.messages),
            sampling=self.sampling(defaults),
            max_tokens=self._limit(),
            stop=self.stops(),
            truncation=self.truncation or "auto",
            tools=tuple(tool.value() for tool in self.tools or () if isinstance(tool, FunctionTool)),
            tool_choice=choice,
            tool_names=names,
            parallel_tool_calls=self.parallel_tool_calls is not False,
            schema=self._schema(),
            logprobs=self._logprobs(),
            thinking=self._thinking(),
            thinking_hint=self._hint(),
            guards=Guards(**self.guards.model_dump()),
            user=self.user or "",
        )
        return checked(wanted, "messages.{at}.tool_call_id")

    def _schema(self) -> str | None:
        return self.response_format.schema_text() if self.response_format else None

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
        """The one wish, whichever of its three names it came by; an effort is a hint, which the others overrule."""
        options = self.chat_template_kwargs
        wishes = {
            "reasoning_effort": False if self.reasoning_effort == "none" else None,
            "enable_thinking": self.enable_thinking,
            "chat_template_kwargs": None if options is None else options.enable_thinking,
        }
        given = {name: wish for name, wish in wishes.items() if wish is not None}
        if len(set(given.values())) > 1:
            raise InvalidRequest(f"{' and '.join(given)} say different things.", min(given))
        return next(iter(given.values()), None if self.reasoning_effort is None else True)

    def _hint(self) -> str:
        """By what thinking is but hinted at."""
        options = self.chat_template_kwargs
        ordered = self.enable_thinking or (options is not None and options.enable_thinking)
        return "" if ordered else "reasoning_effort"
