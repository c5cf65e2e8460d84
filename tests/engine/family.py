"""The life of one model's conversations, in a process of its own: what each answer is, and what a fresh engine's is.

python -m tests.engine.family MODEL FOLDER      prints what was found, as JSON
python -m tests.engine.family --write           writes the table of all architectures into docs/models.md

    cold · again · next turn · branch · edit · five at once │ restart, through the shelf: next turn · branch · edit
    each beside its reference: the same prompt in another engine whose memory is empty
"""

import dataclasses
import itertools
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from edgechat.engine.base import Slice
from edgechat.engine.llama.engine import LlamaCpp
from edgechat.errors import ModelUnsupported
from edgechat.gguf.header import Header, read_header
from edgechat.gguf.shape import attending, kv_bytes, recurring_layers, state_bytes
from edgechat.prompt.senses import EYES
from edgechat.prompt.sight import Sight
from edgechat.prompt.template import Template
from edgechat.prompt.tokens import Prompter
from edgechat.scheduler.loop import Loop, Stop, Submit
from edgechat.scheduler.shelf import Shelf
from edgechat.types import AnyEvent, Delta, Done, Failed, GenRequest, Message, Sampling, Scored, Timing, Usage
from tests import tiny

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "models.md"

SAID = 6  # tokens of each answer
NEAR = 5e-3  # nats: rounding, which differs with what else is in a step; a cell that is missing is 0.03 and more
CONTEXT = 1024
NO_END = {257 + at: -100.0 for at in range(len(tiny.CONTROL))}  # an answer that ends at once tells nothing
COLUMNS = ("cold", "again", "next turn", "branch", "edit", "five at once", "restart")


@dataclasses.dataclass
class Verdict:
    """What was found: what is not right, tokens that need not be read, the kept bytes beside those planned."""

    architecture: str
    memory: str = ""  # what its layers keep
    refused: str = ""
    wrong: dict[str, str] = dataclasses.field(default_factory=dict)
    cached: dict[str, int] = dataclasses.field(default_factory=dict)
    cell: float = 0
    state: float = 0

    def row(self) -> str:
        """Its line in the table."""
        held = ("refused" if self.refused else self._told(name) for name in COLUMNS)
        return f"| `{self.architecture}` | {self.memory} | {' | '.join(held)} |"

    def _told(self, name: str) -> str:
        if any(one.startswith(name) for one in self.wrong):
            return "wrong"
        again = [tokens for one, tokens in self.cached.items() if one.startswith(name)]
        return "right" if min(again) or name == "cold" else "right, all read again"


class Life:
    """One engine and its loop, asked one after the other or together."""

    def __init__(self, path: Path, shelf: Path | None = None, sights: Mapping[str, Sight] = {}) -> None:
        make: Any = LlamaCpp
        self._sights = sights
        self.engine = make(path, CONTEXT, 1 << 30, 1, lambda _: None)
        self._kept = Shelf(shelf, 64 << 20, "tiny", self.engine.cuts) if shelf else None
        self._loop = Loop(self.engine, self._tell, shelf=self._kept)
        template = Template(self.engine.template or "")
        self._prompter = Prompter(template, self.engine.tokenizer, CONTEXT, senses=EYES if sights else ())
        self._scores: dict[int, list[Scored]] = {}
        self._done: dict[int, Done] = {}
        self._open = 0
        self._ids = itertools.count()

    def ask(self, *requests: GenRequest) -> list[tuple[list[Scored], int]]:
        """Of each answer the tokens with their scores, and how much of its prompt was not read; all asked at once."""
        ids = [next(self._ids) for _ in requests]
        self._open = len(ids)
        for id, request in zip(ids, requests, strict=True):
            self._scores[id] = []
            self._loop.post(Submit(id, request, self._prompter.prepare(request, self._sights)))
        self._loop._stopped = False
        self._loop.run()
        return [(self._scores[id], self._done[id].usage.cached_tokens) for id in ids]

    def _tell(self, id: int, event: AnyEvent) -> None:
        match event:
            case Delta(logprobs=scores):
                self._scores[id] += scores
            case Failed():
                self._done[id] = Done("stop", "eos", Usage(0, 0), Timing(0, 0, None))  # no answer: told as a wrong one
                self._close()
            case Done():
                self._done[id] = event
                self._close()

    def _close(self) -> None:
        self._open -= 1
        if not self._open:
            self._loop.post(Stop())

    def end(self) -> None:
        if self._kept is not None:
            self._kept.close()
        self.engine.close()

    def forget(self) -> None:
        """Nothing is held any more."""
        self._loop._pool.clear()


def words(number: int, count: int = 12) -> str:
    return " ".join(f"the {(number * 7919 + at * 104_729) % 9973}" for at in range(count))


def turns(*texts: str) -> GenRequest:
    roles = itertools.cycle(["user", "assistant"])
    messages = [Message.of("system", words(0)), *(Message.of(next(roles), text) for text in texts)]  # type: ignore[arg-type]
    return asked(messages=tuple(messages))


def asked(messages: tuple[Message, ...] = (), prompt: tuple[int, ...] | None = None) -> GenRequest:
    return GenRequest(messages, Sampling(temperature=0, logit_bias=NO_END), max_tokens=SAID, prompt=prompt, logprobs=2)


FIRST = turns(words(1))
NEXT = turns(words(1), words(2), words(3))
BRANCH = turns(words(1), words(4), words(5))
EDIT = turns(words(6))
LONGER = turns(words(1), words(2), words(3), words(7), words(8))


def steps(life: Life) -> Iterator[tuple[str, GenRequest, list[Scored], int]]:
    """Name, request, answer and cached tokens of every answer of the first life."""
    for name, request in [("cold", FIRST), ("again", FIRST), ("next turn", NEXT), ("longer", LONGER)]:
        yield name, request, *life.ask(request)[0]
    for name, request in [("branch", BRANCH), ("edit", EDIT), ("back", NEXT)]:
        yield name, request, *life.ask(request)[0]
    others = [NEXT, BRANCH, EDIT, LONGER, turns(words(9))]
    for request, (scores, cached) in zip(others, life.ask(*others), strict=True):
        yield "five at once", request, scores, cached


def difference(scores: Sequence[Scored], reference: Sequence[Scored]) -> str:
    """What is wrong with an answer; nothing if it is the reference's."""
    if len(scores) != len(reference):
        return f"{len(scores)} tokens instead of {len(reference)}"
    for at, (one, other) in enumerate(zip(scores, reference, strict=True)):
        if one.token != other.token:
            first, second = other.top
            return "" if first.logprob - second.logprob < NEAR else f"another token at {at}"
        if abs(one.logprob - other.logprob) > NEAR:
            return f"{abs(one.logprob - other.logprob):.4f} nats away at {at}"
    return ""


def kept(engine: Any) -> tuple[float, float]:
    """Bytes that a token and a sequence add to a saved state: measured on the engine that was loaded."""
    sizes = []
    for start in (0, 20):
        engine.step([Slice(0, start, list(range(20)))])
        sizes.append(len(engine.save(0)))
    engine.trim(0)
    cell = (sizes[1] - sizes[0]) / 20
    return cell, sizes[0] - 20 * cell


def memory_of(header: Header) -> str:
    window = ", of a window" if header.number("attention.sliding_window") else ""
    keys, states = len(attending(header)), len(recurring_layers(header))
    latent = "latent keys" if header.number("attention.key_length_mla") else "keys and values"
    return " + ".join([*([latent + window] if keys else []), *(["state"] if states else [])])


def judge(path: Path, folder: Path) -> Verdict:
    header = read_header(path)
    verdict = Verdict(header.architecture, memory_of(header))
    try:
        reference = Life(path)
    except ModelUnsupported as error:
        return dataclasses.replace(verdict, refused=str(error))
    cell, state = kept(reference.engine)
    verdict.cell, verdict.state = cell - (kv_bytes(header) or 0), state - state_bytes(header)

    def look(name: str, request: GenRequest, scores: list[Scored], cached: int) -> None:
        reference.forget()
        if wrong := difference(scores, reference.ask(request)[0][0]):
            verdict.wrong[name] = wrong
        verdict.cached[name] = min(cached, verdict.cached.get(name, cached))

    heard = [reference.ask(request)[0][0] for request in (FIRST, EDIT, NEXT, BRANCH)]
    said = {tuple((one.token, round(one.logprob, 3)) for one in scores) for scores in heard}
    assert len(said) == len(heard), "it does not hear what it is told, so nothing could be wrong"
    first = Life(path, folder)
    for answer in steps(first):
        look(*answer)
    first.end()
    second = Life(path, folder)
    for name, request in [("restart: branch", BRANCH), ("restart: edit", EDIT), ("restart: longer", LONGER)]:
        look(name, request, *second.ask(request)[0])
    second.end()
    reference.end()
    return verdict


def lived(architecture: str, folder: Path) -> Verdict:
    """The verdict on a tiny model, from a process of its own: what llama.cpp cannot do may end it."""
    path = tiny.model(folder / f"{architecture}.gguf", architecture)
    command = [sys.executable, "-m", "tests.engine.family", str(path), str(folder / f"{architecture}.shelf")]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr[-2000:]
    return Verdict(**json.loads(ran.stdout.splitlines()[-1]))


def rows() -> dict[str, str]:
    """The table's lines by architecture, as docs/models.md has them."""
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    begin = next(at for at, line in enumerate(lines) if line.startswith("| architecture | its layers keep"))
    table = itertools.takewhile(lambda line: line.startswith("|"), lines[begin + 2 :])
    return {line.split("`")[1]: line for line in table}


def write() -> None:
    with tempfile.TemporaryDirectory() as folder:
        lines = [lived(name, Path(folder)).row() for name in tiny.ARCHITECTURES]
    head = ["architecture", "its layers keep", *COLUMNS]
    table = [f"| {' | '.join(head)} |", "|---" * len(head) + "|", *lines]
    page = PAGE.read_text(encoding="utf-8")
    begin = page.index("| architecture | its layers keep")
    end = page.index("\n\n", begin)
    PAGE.write_text(page[:begin] + "\n".join(table) + page[end:], encoding="utf-8")


if __name__ == "__main__":
    if sys.argv[1:] == ["--write"]:
        write()
    else:
        print(json.dumps(dataclasses.asdict(judge(Path(sys.argv[1]), Path(sys.argv[2])))))
