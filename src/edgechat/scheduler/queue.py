"""Who is next: first come, first served. Pure.

Fairness between clients comes in here: the loop asks `pop`, and knows nothing of the order.
"""

from collections.abc import Iterator

from edgechat.scheduler.answer import Answer


class Queue:
    """Answers that wait."""

    def __init__(self) -> None:
        self._waiting: dict[int, Answer] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def push(self, answer: Answer) -> int:
        """Add `answer`; returns its place, 1 being next."""
        self._waiting[answer.id] = answer
        return len(self._waiting)

    def pop(self) -> Answer | None:
        """The next answer to run, or None."""
        if not self._waiting:
            return None
        return self._waiting.pop(next(iter(self._waiting)))

    def remove(self, id: int) -> bool:
        """Take out the answer of that id; False if it does not wait here."""
        return self._waiting.pop(id, None) is not None

    def places(self) -> Iterator[tuple[int, Answer]]:
        """(place, answer), from the next one on."""
        return iter(enumerate(self._waiting.values(), 1))
