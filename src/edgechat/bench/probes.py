"""The table of probes. A new one is a function and an entry here."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Literal

from edgechat.bench import alone, body, company, sight
from edgechat.bench.client import Client
from edgechat.types import Struct


class Figure(Struct, frozen=True):
    """What one number of a probe means, and which way is better."""

    about: str
    unit: Literal["tok/s", "ms", "×", "MB", "M", "J", "W", ""]  # nothing: a count; M: of a million
    better: Literal["more", "less"] | None = None  # None: for reference


class Probe(Struct, frozen=True):
    """`run` takes the address, and with `pair` the other one too; it gives figures by name, or raises Unmeasured.

    A figure that a server gives no ground for is left out.
    """

    about: str
    run: Callable[..., Awaitable[alone.Figures]]
    figures: dict[str, Figure]
    pair: bool = False
    restarts: bool = False
    counters: bool = False  # needs the processor's energy counters
    usual: bool = True  # run where no probe is named

    def missing(self, here: Client, others: Sequence[Client]) -> str | None:
        """Why the probe cannot be run, or None."""
        if self.pair and len(others) != 1:
            return "takes exactly two addresses"
        if self.restarts and not here.address.restart:
            return "needs --restart with the command that restarts the server"
        if self.counters and not body.counters():
            return f"no energy counter can be read in {body.RAPL}"
        return None


FIRST = Figure("turn 1, time to first token", "ms", "less")
SECOND = Figure("turn 2, time to first token", "ms", "less")
RATIO = Figure("turn 2 / turn 1", "×", "less")
READ = Figure("turn 2, tokens that were read", "", "less")

SEEN = f"{sight.SIDES[-1]} × {sight.SIDES[-1]} pixels"

PROBES: dict[str, Probe] = {
    "single": Probe(
        f"one user: a cold prompt of about {alone.PROMPT} tokens, an answer of {alone.ANSWER}",
        alone.single,
        {
            "prefill": Figure("prefill", "tok/s", "more"),
            "decode": Figure("decode", "tok/s", "more"),
            "first": Figure("time to first token", "ms", "less"),
        },
    ),
    "turns": Probe(
        f"two turns of a conversation, the first message of about {alone.PROMPT} tokens",
        alone.turns,
        {"first": FIRST, "second": SECOND, "ratio": RATIO, "read": READ},
    ),
    "restart": Probe(
        "the same, the server restarted between",
        alone.restart,
        {"first": FIRST, "second": SECOND, "ratio": RATIO, "read": READ},
        restarts=True,
    ),
    "branch": Probe(
        f"a conversation that shares about {alone.SHARED} tokens with an earlier one, and differs in 30",
        alone.branch,
        {
            "first": Figure("cold, time to first token", "ms", "less"),
            "second": Figure("branch, time to first token", "ms", "less"),
            "ratio": Figure("branch / cold", "×", "less"),
            "read": Figure("branch, tokens that were read", "", "less"),
        },
    ),
    "newcomer": Probe(
        f"a reader, and a newcomer whose cold prompt has about {company.NEWCOMER} tokens",
        company.newcomer,
        {
            "stall": Figure("reader's longest gap meanwhile", "ms", "less"),
            "solo": Figure("newcomer alone, time to first token", "ms", "less"),
            "first": Figure("newcomer beside the reader, the same", "ms", "less"),
            "ratio": Figure("beside / alone", "×", "less"),
        },
    ),
    "users": Probe(
        f"{company.USERS} users together, {company.USER} tokens each; prefill and waiting included",
        company.users,
        {
            "alone": Figure("one user alone", "tok/s", "more"),
            "together": Figure("all together", "tok/s", "more"),
            "slowest": Figure("the slowest of them", "tok/s", "more"),
        },
    ),
    "flood": Probe(
        f"a short question behind another user's {company.FLOOD} requests",
        company.flood,
        {
            "solo": Figure("whole answer, alone", "ms", "less"),
            "behind": Figure("whole answer, behind the flood", "ms", "less"),
            "slowdown": Figure("behind / alone", "×", "less"),
            "refused": Figure("requests of the flood refused", ""),
        },
    ),
    "neighbour": Probe(
        "decode beside one busy Python loop",
        company.neighbour,
        {
            "alone": Figure("decode alone", "tok/s", "more"),
            "beside": Figure("decode beside it", "tok/s", "more"),
            "kept": Figure("kept", "×", "more"),
        },
    ),
    "two": Probe(
        "decode while the other address decodes too",
        company.two,
        {
            "alone": Figure("decode alone", "tok/s", "more"),
            "beside": Figure("decode beside it", "tok/s", "more"),
            "kept": Figure("kept", "×", "more"),
        },
        pair=True,
    ),
    "memory": Probe(
        f"memory of the server's processes (PSS), and while a prompt of about {alone.PROMPT} tokens is answered",
        body.memory,
        {"idle": Figure("before", "MB", "less"), "most": Figure("at most", "MB", "less")},
    ),
    "size": Probe(
        "how large the model is, where the server tells (Ollama's /api/show)",
        body.size,
        {"parameters": Figure("parameters", "M")},
        usual=False,
    ),
    "startup": Probe(
        "the server restarted: from the old one's end to the new one's first answer",
        body.startup,
        {
            "ready": Figure("without the restart command", "ms", "less"),
            "whole": Figure("with it, and with what the old one still had to do", "ms", "less"),
        },
        restarts=True,
    ),
    "energy": Probe(
        f"the processor's own energy counter over one answer of {alone.ANSWER} tokens",
        body.energy,
        {"token": Figure("per token", "J", "less"), "watts": Figure("meanwhile", "W")},
        counters=True,
    ),
    "crowd": Probe(
        f"1 to {company.CROWDS[-1]} users at once, {company.CROWDED} tokens each; prefill and waiting included",
        company.crowd,
        {f"users{people}": Figure(f"{people} together", "tok/s", "more") for people in company.CROWDS},
    ),
    "soak": Probe(
        f"mixed load of {company.SOAKERS} people; --minutes sets for how long",
        company.soak,
        {
            "answers": Figure("answers", "", "more"),
            "left": Figure("people who left in the middle", ""),
            "errors": Figure("answers refused or cut off", "", "less"),
            "early": Figure("time to first token, first half", "ms", "less"),
            "late": Figure("the same, second half", "ms", "less"),
        },
        usual=False,
    ),
    "many": Probe(
        f"{company.MANY} readers at once, each told to repeat words of its own",
        company.many,
        {
            "errors": Figure("answers refused or cut off", "", "less"),
            "unended": Figure("streams without a proper end", "", "less"),
            "foreign": Figure("answers with another reader's words", "", "less"),
            "exact": Figure("answers with the own words exactly once", "", "more"),
        },
    ),
    "picture": Probe(
        f"a new picture and a short question; the same picture again, of {SEEN}",
        sight.picture,
        {
            **{f"first{side}": Figure(f"{side} pixels, time to first token", "ms", "less") for side in sight.SIDES},
            **{f"encode{side}": Figure(f"{side} pixels, encoding", "ms", "less") for side in sight.SIDES},
            "second": Figure("second question, time to first token", "ms", "less"),
            "branch": Figure("another first question, the same", "ms", "less"),
            "ratio": Figure("second question / first", "×", "less"),
            "decode": Figure("decode behind a picture", "tok/s", "more"),
        },
        usual=False,
    ),
    "picture-restart": Probe(
        f"a picture of {SEEN} and a question, the server restarted, the same again",
        sight.restart,
        {
            "first": Figure("time to first token", "ms", "less"),
            "second": Figure("after the restart, the same", "ms", "less"),
            "ratio": Figure("after / before", "×", "less"),
        },
        restarts=True,
        usual=False,
    ),
    "picture-beside": Probe(
        f"a reader, and somebody who shows a new picture of {SEEN}",
        sight.beside,
        {
            "stall": Figure("reader's longest gap meanwhile", "ms", "less"),
            "solo": Figure("picture alone, time to first token", "ms", "less"),
            "first": Figure("beside the reader, the same", "ms", "less"),
            "ratio": Figure("beside / alone", "×", "less"),
        },
        usual=False,
    ),
}
