"""Tokenisation: a request to the token ids the model reads; control tokens come from the template's own text only.

The prompt is split at the control tokens that lie wholly in template text; everything between two of them is tokenised
whole, as plain content, so that harmless conversations get the same ids as with the reference tokeniser. Some
vocabularies also have tokens that are plain by type but markup by use (<tool_call>, <think>): where such a word stands
in content, the text is tokenised in two parts, so that it becomes letters and not that token.
"""

import re
from bisect import bisect_left
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from edgechat.errors import ContextLengthExceeded, EngineFailed, InvalidRequest, RequestError, TemplateInvalid
from edgechat.prompt import budget, senses
from edgechat.prompt.sight import Sight, View
from edgechat.prompt.template import THINK, UNTHINK, Prompt, Template
from edgechat.prompt.tokenizer import Tokenizer, check_ids, look_up
from edgechat.prompt.tools import CALL, CALLED, Form, spelled_out, system_first, without_system
from edgechat.types import (
    CAP,
    Answered,
    AnyQuestion,
    Attachment,
    Detokenize,
    Embed,
    Encoded,
    GenRequest,
    Kind,
    Message,
    Read,
    Tokenize,
)

MARKUP = {THINK, UNTHINK, CALL, CALLED, "<tool_response>", "</tool_response>"}
NOTHING = Message("assistant", ())
ANSWER = 1 / 4  # of the context, at most, that dropping turns makes free for the answer


class Prepared(NamedTuple):
    """A prompt that fits."""

    tokens: list[int]
    dropped: int = 0  # messages that did not
    thinks: bool = False  # the answer begins inside the model's thinking
    may_think: bool = False  # the answer may begin with thinking
    form: Form = "json"  # of the calls in the answer
    unheld: tuple[str, ...] = ()  # hints that it could not follow
    turns: tuple[int, ...] = ()  # tokens up to the end of each turn, and as far as the next request will be the same
    views: tuple[tuple[int, View], ...] = ()  # and the tokens before each, ascending
    media: tuple[Encoded, ...] = ()  # whose views they are


class Ids(NamedTuple):
    """The ids of a prompt. `ends` and `views` as of `Prepared`."""

    tokens: list[int]
    ends: tuple[int, ...]
    views: tuple[tuple[int, View], ...]


class Prompter:
    """Turns requests into token ids for one model. Safe to call from several threads."""

    def __init__(
        self,
        template: Template,
        tokenizer: Tokenizer,
        context: int,
        thinking: bool | None = None,
        senses: Collection[Kind] = (),
    ) -> None:
        """`thinking`: what holds where a request does not say, and the template can be told; `senses`: beside text."""
        self.template = template
        self._senses = senses
        self._thinking = thinking if template.thinking_switch else None
        self._tokenizer = tokenizer
        self._context = context
        self._specials = _any_of(tokenizer.specials)
        self._markup = _any_of(word for word in tokenizer.added if word in MARKUP or word in template.source)
        ask = Message.of("user", "Hello")
        self._has_system = self._tells("Be kind.", [Message.of("system", "Be kind."), ask])
        self._has_more = self._tells(
            "Be brief.", [ask, Message.of("assistant", "Hi."), Message.of("system", "Be brief."), ask]
        )

    def prepare(self, request: GenRequest, sights: Mapping[str, Sight] = {}) -> Prepared:
        """Token ids of what the model reads before it answers `request`; `sights` of its pictures, by their SHA-256.

        Raises ContextLengthExceeded when they leave no room for one token of answer, naming both numbers.
        """
        wanted, unheld = self._wanted_thinking(request)
        senses.check(request.messages, self._senses)
        self._check_length(request)
        if request.prompt is not None:
            ids = self._checked(self._raw(request.prompt), "prompt", self._context)
            return Prepared(ids, turns=(len(ids) - 1,))
        tools = request.tools if request.tool_choice != "none" else ()
        thinking = self._thinking if wanted is None else wanted
        thinks, read = False, Ids([], (0,), ())

        def encode(messages: Sequence[Message]) -> list[int]:
            nonlocal thinks, read
            turns, known = list(messages), tools
            answer = turns.pop() if request.goes_on else NOTHING
            if not self.template.knows_tools:
                turns, known = spelled_out(turns, tools), ()
            if not self._has_system:
                turns = without_system(turns)
            elif not self._has_more:
                turns = system_first(turns)
            prompt = self.template.render(turns, known, thinking)
            _check_shown(messages, prompt)
            thinks = not answer.text and (prompt.thinks or bool(answer.reasoning))
            read = self._read(prompt.begun(answer) if request.goes_on else prompt, sights)
            return read.tokens

        def count(message: Message) -> int:
            shown = (len(_seen(part, sights)[0]) for part in message.attachments)
            return budget.counted(message.text, self._tokenizer.encode, budget.FAR * context) + sum(shown)

        context = min(self._context, request.context or self._context)
        is_said = request.goes_on and bool(request.messages[-1].text)
        may_think, form = self.template.thinks and thinking is not False and not is_said, self.template.form
        if request.truncation == "disabled":
            ids, dropped = encode(request.messages), 0
        else:
            answer = min(request.max_tokens or CAP, int(context * ANSWER))
            _, dropped, ids = budget.fit(request.messages, context - answer, encode, count)
        tokens = self._checked(ids, "messages", context)
        return Prepared(tokens, dropped, thinks, may_think, form, unheld, read.ends, read.views)

    def answer(self, question: AnyQuestion, sights: Mapping[str, Sight] = {}) -> Answered:
        """Answer a question about tokens; `sights` as for `prepare`. Raises what that raises."""
        match question:
            case Tokenize() | Detokenize():
                return look_up(self._tokenizer, question)
            case Read(request=request):
                return Answered(tokens=tuple(self.prepare(request, sights).tokens))
            case Embed():
                raise InvalidRequest("this model answers; it gives no embeddings: it has no pooling.", "model")

    def _wanted_thinking(self, request: GenRequest) -> tuple[bool | None, tuple[str, ...]]:
        """The wish, and the hint that the template cannot follow. An order that it cannot fulfil is refused."""
        wanted = request.thinking
        if self.template.thinking_switch or wanted is None or wanted == self.template.thinks:
            return wanted, ()
        if wanted and request.thinking_hint:
            return None, (request.thinking_hint,)
        how = "does not support thinking" if wanted else "has no switch to turn its thinking off"
        raise InvalidRequest(f"this model {how}.", "enable_thinking")

    def _tells(self, said: str, messages: Sequence[Message]) -> bool:
        """Whether the template takes `messages`, and the model reads what was `said` in them."""
        try:
            return said in self.template.render(messages).text
        except (RequestError, TemplateInvalid):
            return False

    def _raw(self, prompt: str | Sequence[int]) -> list[int]:
        """A prompt that goes through no template; given as ids, it is taken as it stands."""
        if isinstance(prompt, str):
            return self._with_bos(self._tokenizer.encode(prompt) if prompt else [])
        check_ids(self._tokenizer, prompt, "prompt")
        return list(prompt)

    def _with_bos(self, ids: list[int]) -> list[int]:
        bos = self._tokenizer.bos
        return ids if bos is None or ids[:1] == [bos] else [bos, *ids]

    def _checked(self, ids: list[int], param: str, context: int) -> list[int]:
        if not ids:
            raise InvalidRequest("the prompt has no token: say something.", param)
        if context <= len(ids) < self._context:
            raise ContextLengthExceeded(
                f"the conversation has {len(ids)} tokens, its own context is {context} including the answer: "
                "send less, or give it more.",
                param,
            )
        if len(ids) >= self._context:
            raise ContextLengthExceeded(
                f"the conversation has {len(ids)} tokens, this model's context here is {self._context} "
                "including the answer: send less, or serve it with a larger --context.",
                param,
            )
        return ids

    def _check_length(self, request: GenRequest) -> None:
        """Refuse what is far too long before the whole of it is read: one letter four million times takes long.

        Raises ContextLengthExceeded.
        """
        stays = request.messages if request.truncation == "disabled" else budget.staying(request.messages)
        texts = [message.text for message in stays]
        if isinstance(request.prompt, str):
            texts = [request.prompt]
        far = budget.FAR * self._context
        if sum(map(len, texts)) <= budget.SHORT:
            return
        for text in texts:
            far -= budget.counted(text, self._tokenizer.encode, far)
            if far < 0:
                raise ContextLengthExceeded(
                    f"the conversation has more than {budget.FAR * self._context} tokens, this model's context here is "
                    f"{self._context} including the answer: send less, or serve it with a larger --context.",
                    "messages" if request.prompt is None else "prompt",
                )

    def _read(self, prompt: Prompt, sights: Mapping[str, Sight]) -> Ids:
        """The ids of `prompt`, and how many there are up to the end of each turn.

        A turn ends with the first control token after what somebody wrote or showed; so does a picture. In place of the
        last one's, the last end is that of all but the token that the answer is drawn after; not so where the template
        begins the answer with a thought, for thoughts are left out of earlier answers.
        """
        ids: list[int] = []
        ends: list[int] = []
        views: list[tuple[int, View]] = []
        at, was_said = 0, False
        contents = _Ranges(prompt.contents)
        for stop, picture in (*prompt.pictures, (len(prompt.text), None)):
            for found in self._specials.finditer(prompt.text, at, stop):
                if contents.touch(found.start(), found.end()):
                    continue
                ids += self._plain(prompt.text, at, found.start(), contents)
                ids.append(self._tokenizer.specials[found.group()])
                if was_said or contents.touch(at, found.start()):
                    ends.append(len(ids))
                at, was_said = found.end(), False
            ids += self._plain(prompt.text, at, stop, contents)
            was_said = was_said or contents.touch(at, stop)
            at = stop
            if picture is not None:
                tokens, shown = _seen(picture, sights)
                views += [(len(ids) + before, view) for before, view in shown]
                ids += tokens
                ends.append(len(ids))  # another question about it begins here
                was_said = True
        whole = self._with_bos(ids)
        more, last = len(whole) - len(ids), len(whole) - 1
        ends, views = [end + more for end in ends], [(before + more, view) for before, view in views]
        written = prompt.contents[-1][1] if prompt.contents else 0
        if not ends or THINK not in prompt.text[written:]:
            ends = [*[end for end in ends if end < last][: len(ends) - 1], last]
        return Ids(whole, tuple(ends), tuple(views))

    def _plain(self, text: str, start: int, end: int, contents: "_Ranges") -> Iterator[int]:
        """The ids of `text` from `start` to `end`; markup that people wrote is cut in two after its first letter."""
        begun, at = start, start
        while (found := self._markup.search(text, at, end)) is not None:
            at = found.end()
            if contents.touch(found.start(), found.end()):
                at = found.start() + 1
                yield from self._tokenizer.encode(text[begun:at])
                begun = at
        if begun < end:
            yield from self._tokenizer.encode(text[begun:end])


class _Ranges:
    """Ranges in ascending order that do not overlap."""

    def __init__(self, ranges: Sequence[tuple[int, int]]) -> None:
        self._starts = [start for start, _ in ranges]
        self._ends = [end for _, end in ranges]

    def touch(self, start: int, end: int) -> bool:
        """Whether one of them has a character from `start` to `end`."""
        before = bisect_left(self._starts, end)
        return before > 0 and self._ends[before - 1] > start


def _any_of(words: Iterable[str]) -> re.Pattern[str]:
    return re.compile("|".join(map(re.escape, sorted(words, key=len, reverse=True))) or r"(?!)")


def _seen(picture: Attachment, sights: Mapping[str, Sight]) -> tuple[list[int], list[tuple[int, View]]]:
    """The ids of a picture, and its views with the ids before each."""
    if picture.sha256 not in sights:
        raise EngineFailed(f"the picture {picture.sha256[:12]} was not looked at.")
    ids: list[int] = []
    views = []
    for piece in sights[picture.sha256]:
        if isinstance(piece, View):
            views.append((len(ids), piece))
            ids += piece.cells
        else:
            ids += piece
    return ids, views


def _check_shown(messages: Sequence[Message], prompt: Prompt) -> None:
    """Nothing that was sent is left out in silence, whatever was done to the turns. Raises InvalidRequest."""
    sent = sorted(part.sha256 for message in messages for part in message.attachments)
    if sent != sorted(picture.sha256 for _, picture in prompt.pictures):
        raise InvalidRequest("pictures cannot stand there for this model: send them in a user's message.", "messages")
