"""The KV cache's cells and sequences: who holds what in the engine. The only one who moves them.

    seat()    a sequence for an answer, with the longest held beginning shared into it
    room()    cells for the next step, by letting go of what is least of use
    keep()    an answer is done: its tokens stay, for the next turn
    leave()   an answer is gone: its cells are free

Each raises EngineFailed where the engine does not move cells as asked: then only clear() makes the books true again.
A step looks at every cell that holds something, whoever it is for: on two old cores a thousand idle cells make each
token a fifth slower. So while anyone is answered only what is in use stays; the rest goes to the shelf (shelf.py),
from where it is back within milliseconds. What is kept while nobody asks is copied there too.
"""

from contextlib import suppress
from typing import NamedTuple

from edgechat.engine.base import Engine
from edgechat.errors import EngineFailed
from edgechat.scheduler.answer import Answer
from edgechat.scheduler.prefixes import PrefixTree
from edgechat.scheduler.shelf import Label, Shelf

IDLE_SHARE = 0.5  # of the cells may be held for answers to come where there is no shelf, or nobody is answered


class Holding(NamedTuple):
    """What is known about a kept sequence besides its tokens."""

    label: Label
    shelved: bool


class Pool:
    """The engine's sequences and cells."""

    def __init__(self, engine: Engine, shelf: Shelf | None = None) -> None:
        self._engine = engine
        self._shelf = shelf
        self._tree = PrefixTree()
        self._free = list(range(engine.sequences - 1, -1, -1))
        self._kept: dict[int, Holding] = {}
        self._own: dict[int, int] = {}  # cells of a running sequence beyond what it shares
        self.cells = engine.info.cells

    @property
    def used(self) -> int:
        """Cells that hold something."""
        return self._tree.cells + sum(self._own.values())

    # ── answers ──

    def seat(self, answer: Answer, promised: int, now: float) -> bool:
        """Give `answer` a sequence and what is held of its tokens; False while there is no room for it.

        `promised` cells will be needed by those who run already.
        """
        if self._tree.find(answer.realm, answer.tokens).length < len(answer.tokens) - 1:
            self._unshelve(answer)
        if not self._free and not self._let_go_oldest():
            return False
        found = self._tree.find(answer.realm, answer.tokens)
        # The last token is fed in any case: its logits are what the next one is drawn from.
        length = min(found.length, len(answer.tokens) - 1)
        seq = self._free.pop()
        self._tree.open(seq, answer.realm, answer.tokens[:length])
        self._own[seq] = 0
        if found.seq is not None and length:  # before anything is let go of
            self._engine.share(found.seq, seq, 0, length)
        self._thin_out()
        if not self.room(promised + len(answer.tokens) - length):
            self._vacate(seq)
            return False
        answer.start(seq, length, now)
        return True

    def room(self, tokens: int) -> bool:
        """Make sure that `tokens` more have cells; False when everything else is in use."""
        while self.used + tokens > self.cells:
            if not self._let_go_oldest():
                return False
        return True

    def grew(self, answer: Answer, tokens: int) -> None:
        """The engine holds `tokens` more of `answer`."""
        answer.done += tokens
        self._own[answer.seq] += tokens

    def keep(self, answer: Answer) -> None:
        """Hold what the engine has of `answer` for the next turn."""
        label = Label(answer.realm, answer.request.conversation)
        self._settle(answer.seq, label, answer.tokens[: answer.done], shelved=False)
        answer.seq = -1
        self._thin_out()
        while self._tree.cells > self.cells * IDLE_SHARE and len(self._kept) > 1 and self._let_go_oldest():
            pass

    def leave(self, answer: Answer) -> None:
        """Free what `answer` holds alone."""
        self._vacate(answer.seq)
        answer.seq = -1

    def forget(self, conversation: str) -> None:
        """Delete what is kept of a conversation, in memory and on the shelf."""
        if self._shelf is not None:  # first: if the engine fails over its part, all of its memory is cleared
            self._shelf.forget(conversation)
        for seq in [seq for seq, held in self._kept.items() if held.label.conversation == conversation]:
            del self._kept[seq]
            self._vacate(seq)

    def clear(self) -> None:
        """Nobody knows what the engine holds: begin anew."""
        for seq in range(self._engine.sequences):
            self._engine.trim(seq)
        self._tree, self._kept, self._own = PrefixTree(), {}, {}
        self._free = list(range(self._engine.sequences - 1, -1, -1))

    def shelve_one(self) -> bool:
        """Copy one kept sequence to the shelf; False when all are there. For idle moments and the end."""
        if self._shelf is None:
            return False
        for seq, held in self._kept.items():
            if not held.shelved:
                self._shelve(seq)
                return True
        return False

    def check(self) -> None:
        """Raise AssertionError unless the books are in order."""
        self._tree.check()
        assert self.used <= self.cells
        assert set(self._kept).isdisjoint(self._own)
        assert set(self._free).isdisjoint({*self._kept, *self._own})
        assert len(self._free) + len(self._kept) + len(self._own) == self._engine.sequences

    # ── room ──

    def _thin_out(self) -> None:
        """While anyone is answered, send to the shelf what nobody uses."""
        while self._shelf is not None and self._own and self._let_go(self._tree.unused()):
            pass

    def _let_go_oldest(self) -> bool:
        """Give up the least recently used kept sequence; False when there is none."""
        return self._let_go(self._tree.oldest())

    def _let_go(self, seq: int | None) -> bool:
        if seq is None:
            return False
        if not self._kept[seq].shelved:
            self._shelve(seq)
        del self._kept[seq]
        self._vacate(seq)
        return True

    def _vacate(self, seq: int) -> None:
        self._tree.drop(seq)
        self._own.pop(seq, None)
        self._engine.trim(seq)
        self._free.append(seq)

    def _shelve(self, seq: int) -> None:
        if self._shelf is None:
            return
        held = self._kept[seq]
        with suppress(EngineFailed):  # what cannot be saved is read again
            self._shelf.put(held.label, self._tree.tokens(seq), self._engine.save(seq))
        self._kept[seq] = held._replace(shelved=True)

    def _unshelve(self, answer: Answer) -> None:
        """Bring back from the shelf what it holds of `answer` beyond what memory does."""
        if self._shelf is None:
            return
        here = self._tree.find(answer.realm, answer.tokens).length
        book = self._shelf.find(answer.realm, answer.tokens, beyond=here)
        if book is None or not self.room(len(book.tokens)):
            return
        if not self._free and not self._let_go_oldest():
            return
        state = self._shelf.read(book)
        if state is None:
            return
        seq = self._free.pop()
        if not self._engine.restore(seq, state):
            self._engine.trim(seq)
            self._free.append(seq)
            self._shelf.drop(book)
            return
        self._own[seq] = len(book.tokens)
        self._tree.open(seq, answer.realm, [])
        self._settle(seq, book.label, book.tokens, shelved=True)

    def _settle(self, seq: int, label: Label, tokens: list[int], shelved: bool) -> None:
        """Enter a sequence that nobody uses now into the books; what it has in common with others is shared."""
        kept = self._tree.keep(seq, label.realm, tokens)
        del self._own[seq]
        if kept.source is not None:
            self._engine.trim(seq, kept.start, kept.end)
            self._engine.share(kept.source, seq, kept.start, kept.end)
        for redundant in kept.redundant:
            self._engine.trim(redundant)
            del self._kept[redundant]
            self._free.append(redundant)
        self._kept[seq] = Holding(label, shelved)
