"""In-flight requests, as the operator sees them: those under way (who, which model, how far), and how others ended.

Nobody's words are in it. The records themselves are kept by models/answers.py.
"""

import time
from collections import Counter, deque

from edgechat.errors import EdgechatError, InvalidRequest
from edgechat.models.answers import Answer, Answers
from edgechat.types import Done, Failed, Struct

ERRORS = 20  # the last ones are kept


class Trouble(Struct, frozen=True):
    """An answer that ended with an error, or was refused. `at` is in seconds since 1970."""

    at: float
    code: str
    message: str
    model: str


class Live:
    """Answers since the start; `refusals` are those who were not answered."""

    def __init__(self, answers: Answers) -> None:
        self.answers = answers
        self.errors: deque[Trouble] = deque(maxlen=ERRORS)
        self.refusals = 0
        self.codes: Counter[str] = Counter()  # errors since the start
        self.firsts: list[float] = []  # seconds to first tokens, for whoever empties it
        self.waits: list[float] = []  # the same in the queue, of answers that are whole
        self._prefilled = self._written = 0  # tokens of answers that are over

    @property
    def prefilled(self) -> int:
        """Prompt tokens that were computed."""
        return self._prefilled + sum(answer.prefilled for answer in self.answers.open.values())

    @property
    def written(self) -> int:
        """Tokens of answers; of those under way, pieces are counted."""
        return self._written + sum(answer.said for answer in self.answers.open.values())

    def over(self, answer: Answer) -> None:
        """It is no longer among those under way."""
        ending = answer.ending
        self._prefilled += answer.prefilled
        self._written += ending.usage.completion_tokens if isinstance(ending, Done) else answer.said
        if isinstance(ending, Done):
            self.waits.append(ending.timing.queue_ms / 1000)
        if isinstance(ending, Failed):
            self.trouble(ending.code, ending.message, answer.model, ending.param)

    def told(self) -> list[dict[str, object]]:
        """The answers under way, for the dashboard."""
        return [_told(answer) for answer in self.answers.open.values()]

    def held(self, model: str | None = None) -> int:
        """Tokens that answers under way, of one model or of all, hold in the engine's memory, about."""
        return sum(one.read + one.said for one in self.answers.open.values() if model in (None, one.model))

    def share(self, cells: int) -> float:
        """How much of `cells`, the tokens that the engines can hold, the answers under way take; 0 to 1."""
        return min(1.0, self.held() / cells) if cells else 0.0

    def refused(self, error: EdgechatError, model: str) -> None:
        """Somebody was not answered."""
        self.refusals += 1
        self.trouble(error.code, str(error), model, getattr(error, "param", None))

    def turned_away(self, code: str) -> None:
        """Somebody was refused before it was known who asks for what (gate.py)."""
        self.refusals += 1
        self.codes[code] += 1

    def trouble(self, code: str, message: str, model: str, param: str | None = None) -> None:
        """Keep an error. What is said of a field may quote what stood in it: then only the field is kept."""
        if code == InvalidRequest.code:
            message = f"{param or 'the request'} is not taken as it was sent."
        self.codes[code] += 1
        self.errors.append(Trouble(time.time(), code, message, model))


def _told(answer: Answer) -> dict[str, object]:
    """A row of the dashboard."""
    now, request, caller = time.monotonic(), answer.request, answer.caller
    seconds = now - answer.spoke if answer.spoke else 0.0
    return {
        "id": answer.id,
        "client": "title" if request.purpose == "title" else caller.name or caller.client,
        "model": answer.model,
        "phase": answer.phase,
        "read": answer.read,
        "total": answer.total,
        "said": answer.said,
        "tok_s": round((answer.said - 1) / seconds, 1) if answer.said > 1 and seconds > 0 else None,
        "age_s": round(now - answer.asked, 1),
    }
