"""Constrained decoding: answers that follow a grammar, JSON of a schema or calls of tools. By llguidance.

A Grammar tells before each draw which tokens may come next, and takes in what was drawn. It is made where the request
comes in, not where the engine runs: a schema that does not compile, or takes too long to, refuses the request.

What it costs on two cores with Qwen's 152,000 tokens (scripts/bench_constrain.py): 0.8 s once, 2 ms a schema, and
0.2 ms a token, which is 1 % of a step of a model of 0.5B.
"""

import json
import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import msgspec
import psutil

from edgechat.errors import InvalidRequest
from edgechat.prompt.mend import Call
from edgechat.prompt.template import THINK, UNTHINK
from edgechat.prompt.tokenizer import Tokenizer
from edgechat.prompt.tools import CALL, CALLED, Form, callable_of
from edgechat.scheduler import parameters, schemas
from edgechat.types import GenRequest, Tool

if TYPE_CHECKING:
    import llguidance as guidance

COMPILE_S = 1.0  # of a core: a machine that is busy with others makes no schema too complicated
PATIENCE = 20  # times that, by the clock
ANY_OBJECT = '{"type": "object"}'
CLOSING = 512  # tokens, at most, that close an answer
# Spaces as the models write them, and no others: a small model with a choice may write white space for ever.
SPACING = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
LEXER_STATES = 25_000  # a tenth of the library's own limit: at most 50 MB
GRAMMAR_SIZE = 100_000


class Grammar:
    """What one answer has to follow, and how far it is; `Guide` of engine/base.py."""

    def __init__(
        self,
        matcher: "guidance.LLMatcher",
        words: Sequence[bytes],
        letters: Mapping[int, int],
        ends: Sequence[int],
        thinks: bool = False,
        unheld: tuple[str, ...] = (),
        orders: Mapping[str, "Grammar"] = {},
    ) -> None:
        """`words`: the bytes of each token; `letters`: the token of each byte; `ends`: tokens that end an answer.

        `thinks`: it begins inside the model's thinking; `unheld`: places in tools' schemas that it does not hold to.
        `orders`: what the arguments of strict tools follow, by the tools' names.
        """
        self._orders = orders
        self.unheld = unheld
        self._matcher = matcher
        self._words = words
        self._letters = letters
        self._ends = ends
        self._thinks = thinks
        self._said = bytearray()

    @property
    def failure(self) -> str:
        """Why it can go no further, if so."""
        return self._matcher.get_error() if self._matcher.is_error() else ""

    @property
    def complete(self) -> bool:
        """Whether nothing but the end can follow."""
        return self._matcher.is_stopped() and not self._matcher.is_error()

    def mask(self) -> bytes:
        """A bit for each token, the least significant first: whether it may come next."""
        mask = self._matcher.compute_bitmask()
        return self._only_ends(len(mask)) if self._matcher.is_error() else mask

    def accept(self, token: int) -> None:
        """The token that was drawn."""
        self._said += self._words[token]
        self._matcher.consume_token(token)

    def fits(self, call: Call) -> bool:
        """Whether the arguments of a call that was not held to this grammar follow their schema all the same."""
        name, arguments = call
        order = self._orders.get(name)
        return order is None or order.takes(arguments)

    def takes(self, text: str) -> bool:
        """Whether `text` follows it from its beginning to an end."""
        tokens = [self._letters.get(letter) for letter in text.encode()]
        known = [token for token in tokens if token is not None]
        matcher = self._matcher.deep_copy()
        return len(known) == len(tokens) == matcher.try_consume_tokens(known) and matcher.is_accepting()

    def closing(self) -> list[int]:
        """Tokens that make of a JSON text that was cut off a legal one: as few and plain ones as the schema allows.

        No token where plain ones never do, as with a pattern that wants a letter: there were blanks to the limit.
        """
        tokens: list[int] = []
        while len(tokens) < CLOSING and not self._matcher.is_accepting() and not self._matcher.is_stopped():
            allowed = self._matcher.compute_bitmask()
            plain = (self._letters[letter] for letter in self._preferred())
            # Where the text is forced, only the token is allowed that the tokeniser would make of it.
            token = next((token for token in plain if _bit(allowed, token)), _first(allowed))
            if token is None:
                break
            tokens.append(token)
            self.accept(token)
        return tokens if self._matcher.is_accepting() or self._matcher.is_stopped() else []

    def _preferred(self) -> Iterator[int]:
        """Bytes in the order in which they lead to the end: within a string its quote first, else brackets."""
        first = b'"' if self._in_string() else b'}],": 0ntf{['
        yield from (byte for byte in first if byte in self._letters)
        yield from sorted(self._letters)

    def _in_string(self) -> bool:
        thinks = self._thinks or self._said.startswith(THINK.encode())
        return in_string(self._said.partition(UNTHINK.encode())[2] if thinks else self._said)

    def _only_ends(self, size: int) -> bytes:
        mask = bytearray(size)
        for token in self._ends:
            mask[token // 8] |= 1 << token % 8
        return bytes(mask)


class Constrainer:
    """Makes grammars for one model. The tokeniser, which takes a second, is made when it is first needed."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._lock = threading.Lock()
        self._guidance: guidance.LLTokenizer | None = None
        self._words: list[bytes] = []
        self._letters: dict[int, int] = {}
        self._ends = [token for token in tokenizer.specials.values() if tokenizer.is_end(token)]

    def grammar(self, request: GenRequest, thinks: bool, may_think: bool, form: Form = "json") -> Grammar | None:
        """What the answer to `request` must follow; None where it is free. Calls are written in `form`.

        `thinks`: it begins inside the model's thinking, which is free; `may_think`: it may begin with thinking.
        Raises InvalidRequest, naming the parameter, for a schema that does not compile or takes too long to.
        """
        if not constrained(request):
            return None
        asked, unheld = _reasonable(_with_schemas(request, lambda schema, _: schemas.plain(schema)))
        matcher = self._matcher(_text(asked, form, thinks, may_think), param_of(asked))
        if matcher.is_error():
            asked, more = self._as_held(asked)
            unheld += more
            matcher = self._matcher(_text(asked, form, thinks, may_think), param_of(asked))
        if matcher.is_error():
            raise InvalidRequest("the schemas are too large together: make them simpler.", param_of(asked))
        orders = {
            tool.name: self._grammar(self._matcher(f"start: {_json(json.loads(tool.parameters))}", "tools"))
            for tool in callable_of(asked)
            if tool.strict
        }
        return self._grammar(matcher, thinks, unheld, orders)

    def _grammar(self, matcher: "guidance.LLMatcher", *more: Any) -> Grammar:
        return Grammar(matcher, self._words, self._letters, self._ends, *more)

    def _as_held(self, request: GenRequest) -> tuple[GenRequest, tuple[str, ...]]:
        """`request` with schemas that compile, and what its tools' had to go without. Raises InvalidRequest."""
        unheld: list[str] = []

        def held(schema: Any, tool: Tool | None) -> Any:
            param = "tools" if tool else "response_format"
            try:
                kept, dropped = schemas.held(
                    schema,
                    tool is None or tool.strict,
                    lambda one: not self._matcher(f"start: {_json(one)}", param).is_error(),
                )
            except schemas.Unheld as place:
                where = f"the tool {tool.name!r}" if tool else "the schema"
                raise InvalidRequest(f"{where}: {place}.", param) from None
            unheld.extend(f"tools.{tool.name}.{path}" for path in dropped if tool)
            return kept

        return _with_schemas(request, held), tuple(unheld)

    def _matcher(self, grammar: str, param: str) -> "guidance.LLMatcher":
        """What `grammar` compiles to, an error maybe. Raises InvalidRequest where it takes too long to."""
        import llguidance as guidance

        limits = guidance.LLParserLimits(
            max_lexer_states=LEXER_STATES, max_grammar_size=GRAMMAR_SIZE, verbose_errors=False
        )
        tokenizer, text = self._ready(), guidance.LLMatcher.grammar_from_lark(grammar)
        made: Future[guidance.LLMatcher] = Future()

        def make() -> None:
            try:
                matcher = guidance.LLMatcher(tokenizer, text, log_level=0, limits=limits)
                if not matcher.is_error():
                    matcher.compute_bitmask()  # an error where nothing can begin: what is made of nothing but itself
                made.set_result(matcher)
            except Exception as error:
                made.set_exception(error)

        thread = threading.Thread(target=make, daemon=True)
        thread.start()
        for _ in range(PATIENCE):
            with suppress(TimeoutError):
                return made.result(COMPILE_S)
            if _spent(thread) >= COMPILE_S / 2:  # the kernel counts in hundredths, and not the newest
                break
        raise InvalidRequest(f"the schema is not ready after {COMPILE_S:.0f} s: make it simpler.", param)

    def _ready(self) -> "guidance.LLTokenizer":
        import llguidance as guidance  # not loaded where no answer is constrained

        with self._lock:
            if self._guidance is None:
                vocabulary = _Vocabulary(self._tokenizer, self._ends)
                self._words = vocabulary.words
                self._letters = {word[0]: token for token, word in enumerate(self._words) if len(word) == 1}
                self._guidance = guidance.LLTokenizer(
                    guidance.TokenizerWrapper(vocabulary), n_vocab=self._tokenizer.size, eos_token=self._ends
                )
            return self._guidance


class _Vocabulary:
    """The model's vocabulary as llguidance asks for it: control tokens begin with a byte that no text has."""

    bos_token_id = None

    def __init__(self, tokenizer: Tokenizer, ends: Sequence[int]) -> None:
        names = {token: text for text, token in tokenizer.specials.items()}
        self.words = [b"" if token in names else tokenizer.piece(token) for token in range(tokenizer.size)]
        self.tokens = [b"\xff" + names[t].encode() if t in names else word for t, word in enumerate(self.words)]
        self.special_token_ids = list(names)
        self.eos_token_id = ends[0]
        self._encode = tokenizer.encode

    def __call__(self, text: bytes) -> list[int]:
        return self._encode(text.decode(errors="replace"))


def _spent(thread: threading.Thread) -> float:
    """Seconds of a core that `thread` has had; 0 once it is gone."""
    mine = (one for one in psutil.Process().threads() if one.id == thread.native_id)
    return next((one.user_time + one.system_time for one in mine), 0.0)


def constrained(request: GenRequest) -> bool:
    """Whether the answer to `request` must follow a grammar."""
    return request.schema is not None or _calls_are(request)


def _calls_are(request: GenRequest) -> bool:
    """Whether calls must follow one: because they must come, or because somebody relies on their arguments."""
    tools = callable_of(request)
    return bool(tools) and (request.tool_choice == "required" or any(tool.strict for tool in tools))


def _with_schemas(request: GenRequest, change: Callable[[Any, Tool | None], Any]) -> GenRequest:
    """`request` with each schema that counts as `change` makes it; that of the answer is no tool's."""
    tools = [
        msgspec.structs.replace(tool, parameters=json.dumps(change(json.loads(tool.parameters), tool)))
        for tool in callable_of(request)
    ]
    schema = None if request.schema is None else json.dumps(change(json.loads(request.schema), None))
    return msgspec.structs.replace(request, tools=tuple(tools), schema=schema)


def param_of(request: GenRequest) -> str:
    """Which parameter has the schemas."""
    return "tools" if request.schema is None else "response_format"


def _text(request: GenRequest, form: Form, thinks: bool, may_think: bool) -> str:
    """The grammar of an answer to `request`."""
    tools = callable_of(request)
    if request.schema is None and _may_talk(request):
        return _free(request, tools, form, thinks)
    return _bound(request, tools, form, thinks, may_think)


def _may_talk(request: GenRequest) -> bool:
    return request.tool_choice != "required"


def _reasonable(request: GenRequest) -> tuple[GenRequest, tuple[str, ...]]:
    """`request` without hints beyond what is reasonable, and their places. Raises InvalidRequest for such an order."""
    if request.schema is not None and (why := schemas.excess(request.schema)):
        raise InvalidRequest(why, "response_format")
    tools, unheld = list(request.tools), []
    for at, tool in enumerate(tools):
        if why := schemas.excess(tool.parameters):
            if tool.strict:
                raise InvalidRequest(why, "tools")
            tools[at] = msgspec.structs.replace(tool, parameters=ANY_OBJECT)
            unheld.append(f"tools.{tool.name}.{schemas.dotted(())}")
    return msgspec.structs.replace(request, tools=tuple(tools)), tuple(unheld)


def _thoughtful(rule: str, thinks: bool, may_think: bool) -> str:
    """Grammar lines: `rule`, after the thinking that may come before it."""
    thoughts = "thoughts[lazy]: /(?s:.*)" + UNTHINK.replace("/", r"\/") + "/\n"
    if thinks:
        return f"start: thoughts /\\s*/ {rule}\n{thoughts}"
    if may_think:
        return f'start: ("{THINK}" thoughts /\\s*/)? {rule}\n{thoughts}'
    return f"start: {rule}\n"


def _bound(request: GenRequest, tools: Sequence[Tool], form: Form, thinks: bool, may_think: bool) -> str:
    """Grammar of an answer that is JSON of a schema, or calls, and nothing else."""
    ways, rules = [], ""
    if request.schema is not None and _may_talk(request):
        ways.append("answer")
        rules += f"answer: {_json(json.loads(request.schema))}\n"
    if tools:
        more = f'("\\n{CALL}" one)*' if request.parallel_tool_calls else ""
        ways.append(f'"{CALL}" one {more}')
        rules += _one_of(tools, form)
    return _thoughtful(f"({' | '.join(ways)})", thinks, may_think) + rules


def _free(request: GenRequest, tools: Sequence[Tool], form: Form, thinks: bool) -> str:
    """Grammar of text in which calls may stand; a call of a strict tool may also be all of it, without its tags."""
    bare = [f"call{at}_bare" for at, tool in enumerate(tools) if tool.strict and form == "json"]
    named = "|".join(re.escape(tool.name) for tool in tools if tool.strict)
    no_bare = rf' & ~/\{{"name": "({named})"(?s:.*)/' if bare else ""
    words = f"head[lazy]: /(?s:.*){CALL}/{no_bare}\nTAIL: /(?s:.*)/ & ~/(?s:.*){CALL}(?s:.*)/{no_bare}\n"
    calls = "(head one)* TAIL" if request.parallel_tool_calls else "(head one | TAIL)"
    whole = f"({' | '.join([calls, *bare])})"
    return _thoughtful(whole, thinks, may_think=False) + words + _one_of(tools, form)


def _one_of(tools: Sequence[Tool], form: Form) -> str:
    """Grammar of what stands between the tags of a call."""
    names = [f"call{at}" for at in range(len(tools))]
    if form == "json":
        calls = [_call(tool, name) for name, tool in zip(names, tools, strict=True)]
    else:
        calls = [_call_in_xml(tool, name) for name, tool in zip(names, tools, strict=True)]
        calls.append(parameters.TEXT)
    return f"one: {' | '.join(names)}\n" + "".join(calls)


def _call_in_xml(tool: Tool, name: str) -> str:
    return parameters.rules(tool, name, lambda schema: _json(json.loads(schema)))


def _call(tool: Tool, rule: str) -> str:
    """Lines of a grammar whose `rule` is a call of `tool` between its tags, and the same without them."""
    name = json.dumps(json.dumps(tool.name, ensure_ascii=False), ensure_ascii=False)[1:-1]
    arguments = _json(json.loads(tool.parameters))
    bare = f'"{{\\"name\\": {name}, \\"arguments\\": " ({arguments}) "}}"'
    return f'{rule}: "\\n" {rule}_bare "\\n{CALLED}"\n{rule}_bare: {bare}\n'


def _json(schema: Any) -> str:
    """Grammar of a JSON value."""
    asked = schema if isinstance(schema, dict) else {} if schema else {"not": {}}
    return "%json " + json.dumps({**asked, "x-guidance": SPACING})


def _bit(mask: bytes, token: int) -> bool:
    return bool(mask[token // 8] >> token % 8 & 1)


def _first(mask: bytes) -> int | None:
    """The first token that may come next."""
    at = next((at for at, byte in enumerate(mask) if byte), None)
    return None if at is None else at * 8 + (mask[at] & -mask[at]).bit_length() - 1


def in_string(text: bytes | bytearray) -> bool:
    """Whether a JSON text ends inside a string."""
    quoted = escaped = False
    for letter in text:
        if letter == ord('"') and not escaped:
            quoted = not quoted
        escaped = quoted and letter == ord("\\") and not escaped
    return quoted
