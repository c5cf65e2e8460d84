"""Usage by client, who asks and how much: by key, or by address where no keys are asked for."""

from collections import OrderedDict
from typing import Any

MOST = 200  # clients that are remembered; whoever asked longest ago is forgotten first


class Used:
    """What one client used since the server started."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.answers = 0
        self.tokens = 0


class Clients:
    """The book of all of them, by the client's id."""

    def __init__(self) -> None:
        self._used: OrderedDict[str, Used] = OrderedDict()

    def asked(self, client: str, name: str) -> None:
        """One more answer."""
        used = self._used.setdefault(client, Used(name))
        used.name = name
        used.answers += 1
        self._used.move_to_end(client)
        while len(self._used) > MOST:
            self._used.popitem(last=False)

    def charged(self, client: str, tokens: int) -> None:
        """What an answer cost."""
        if used := self._used.get(client):
            used.tokens += tokens

    def latest(self) -> list[tuple[str, dict[str, Any]]]:
        """(id, what to tell), who asked last first."""
        told = (
            (id, {"name": one.name, "answers": one.answers, "tokens": one.tokens}) for id, one in self._used.items()
        )
        return list(told)[::-1]
