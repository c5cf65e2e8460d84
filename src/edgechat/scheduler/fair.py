"""Fair queueing: who is next, by tokens served, between clients. Pure: time and tokens are handed in.

Every client has a counter of the tokens it was served. The client with the lowest counter is next; one that was away
starts at the lowest counter of those who are here, so nobody saves up a claim. A client that asks much waits behind its
own requests, never in front of others'. (The idea is Sheng and others' virtual token counter, OSDI 2024.)

    flooder  ████████████████ 1600      12 waiting
    light    ███ 300                     1 waiting   ◄── next

Interactive answers go before background ones; a background answer that has waited PATIENCE seconds counts as
interactive, so that it is served in the end.
"""

from collections.abc import Callable, Iterator

from edgechat.scheduler.answer import Answer

PATIENCE = 60.0  # seconds


class _Client:
    """One client: what it was served, what it waits for, how many of its answers are running."""

    def __init__(self, served: float) -> None:
        self.served = served
        self.waiting: dict[int, Answer] = {}
        self.running = 0

    @property
    def here(self) -> bool:
        return bool(self.waiting or self.running)


class FairQueue:
    """Answers that wait, in the order they are to be served."""

    def __init__(self, limit: int) -> None:
        """At most `limit` answers wait."""
        self.limit = limit
        self._clients: dict[str, _Client] = {}
        self._waiting = 0

    def __len__(self) -> int:
        return self._waiting

    def served(self, name: str) -> float:
        """Tokens that client `name` was served, on the common scale."""
        return self._clients[name].served if name in self._clients else 0.0

    def running(self, name: str) -> int:
        """Answers of client `name` that run."""
        return self._clients[name].running if name in self._clients else 0

    def try_push(self, answer: Answer) -> bool:
        """Add `answer`; False when the queue is full."""
        if self._waiting >= self.limit:
            return False
        self._enter(answer.client).waiting[answer.id] = answer
        self._waiting += 1
        return True

    def push_back(self, answer: Answer) -> None:
        """Return an answer that was running to the queue, full or not: it was promised."""
        self.left(answer)
        self._enter(answer.client).waiting[answer.id] = answer
        self._waiting += 1

    def pop(self, now: float, fits: Callable[[Answer], bool] = lambda _: True) -> Answer | None:
        """The next answer that `fits`; it counts as running until `left`."""
        answer = next((one for one in self.order(now) if fits(one)), None)
        if answer is not None:
            self.remove(answer)
            self._clients[answer.client].running += 1
        return answer

    def remove(self, answer: Answer) -> None:
        """Take out a waiting answer."""
        del self._clients[answer.client].waiting[answer.id]
        self._waiting -= 1

    def left(self, answer: Answer) -> None:
        """A running answer is not running any more."""
        self._clients[answer.client].running -= 1

    def charge(self, name: str, tokens: float) -> None:
        """Client `name`, who is here, was served `tokens`, or what takes as long."""
        self._clients[name].served += tokens

    def order(self, now: float) -> Iterator[Answer]:
        """Everyone who waits, the next one first."""

        def rank(answer: Answer) -> tuple[bool, float, float, int]:
            patient = answer.background and now - answer.arrived < PATIENCE
            return patient, self._clients[answer.client].served, answer.arrived, answer.id

        return iter(sorted((one for client in self._clients.values() for one in client.waiting.values()), key=rank))

    def _enter(self, name: str) -> _Client:
        """The client, lifted to the level of those who are here if it was away."""
        floor = min((client.served for client in self._clients.values() if client.here), default=None)
        client = self._clients.get(name)
        if client is None or not client.here:
            self._forget_absent()
            before = client.served if client is not None else 0.0
            client = self._clients[name] = _Client(before if floor is None else max(before, floor))
        return client

    def _forget_absent(self, most: int = 1024) -> None:
        """Names come from outside: those who left are forgotten when there are many, the least served last."""
        absent = sorted((c.served, name) for name, c in self._clients.items() if not c.here)
        for _, name in absent[: max(0, len(self._clients) - most)]:
            del self._clients[name]
