"""The KV cache's cells and sequences: who holds what in the engine. The only one who moves them.

    seat()    a sequence for an answer, with the longest held beginning shared into it
    room()    cells for the next step, by letting go of what is least of use
    keep()    an answer is done: its tokens stay, for the next turn
    leave()   an answer is gone: its cells are free

Each raises EngineFailed where the engine does not move cells as asked: then only clear() makes the books true again.
A step may look at every cell that holds something, whoever it is for: with llama.cpp's attention in several passes a
thousand idle cells made each token a fifth slower on two old cores. So while anyone is answered only so many idle
cells stay as the engine hardly notices; the rest goes to the shelf (shelf.py), from where it is back within
milliseconds. To put it there takes a core from whoever is answered, too: what is kept is copied there while nobody
asks, where it can wait.

Where the engine keeps a running state, copies of it are held beside the cells, as many as memory was planned for: those
that a running answer took (checkpoints.py tells where), until it is kept, and those of the tree, least recently used
out first.
"""

from contextlib import suppress
from itertools import count
from typing import NamedTuple

from edgechat.engine.base import Engine
from edgechat.errors import EngineFailed
from edgechat.scheduler import checkpoints
from edgechat.scheduler.answer import Answer
from edgechat.scheduler.prefixes import PrefixTree
from edgechat.scheduler.shelf import Book, Label, Shelf

SHARES = 2  # of the checkpoints, one prompt may take one
FEW = 3  # checkpoints that a running answer has before it gives one up: its first and its last stay
IDLE_SHARE = 0.5  # of the cells may be held for answers to come where there is no shelf, or nobody is answered


class Holding(NamedTuple):
    """What is known about a kept sequence besides its tokens."""

    label: Label
    shelved: bool


class Pool:
    """The engine's sequences, cells and checkpoints."""

    def __init__(self, engine: Engine, shelf: Shelf | None = None) -> None:
        self._engine = engine
        self._shelf = shelf
        self._ids = count()
        self.cells = engine.info.cells
        self._begin()

    def _begin(self) -> None:
        self._tree = PrefixTree(self._engine.cuts)
        self._free = list(range(self._engine.sequences - 1, -1, -1))
        self._kept: dict[int, Holding] = {}
        self._own: dict[int, int] = {}  # cells of a running sequence beyond what it shares
        self._taken: dict[int, list[tuple[int, bytes]]] = {}  # a running sequence's checkpoints, by their place
        self._states: dict[int, bytes] = {}  # the tree's checkpoints

    @property
    def used(self) -> int:
        """Cells that hold something."""
        return self._tree.cells + sum(self._own.values())

    # ── answers ──

    def seat(self, answer: Answer, promised: int, now: float) -> bool:
        """Give `answer` a sequence and what is held of its tokens; False while there is no room for it.

        `promised` cells will be needed by those who run already.
        """
        # The last token is fed in any case: its logits are what the next one is drawn from.
        realm, tokens = answer.realm, answer.tokens[:-1]
        if self._tree.find(realm, tokens).length < len(tokens):
            self._unshelve(realm, tokens)
        if (source := self._tree.find(realm, tokens).seq) is not None:
            self._tree.use(source)  # what it goes on from is the last to go
        if not self._free and not self._let_go_oldest():
            return False
        length, source, checkpoint = self._tree.find(realm, tokens)
        seq = self._free.pop()
        self._tree.open(seq, realm, tokens[:length])
        self._own[seq] = 0
        if source is not None:  # before anything is let go of
            state = self._states[checkpoint] if checkpoint is not None else None
            self._engine.share(source, seq, 0, length, state)
        self._touch(realm, tokens)
        self._thin_out()
        if not self.room(promised + len(answer.tokens) - length):
            self._vacate(seq)
            return False
        most = self._engine.checkpoints // SHARES
        answer.start(seq, length, now, checkpoints.places(answer.turns, length, self._engine.info.context, most))
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

    def checkpoint(self, answer: Answer) -> None:
        """Take a checkpoint of `answer` as far as it is, if there is room for one more.

        Where running answers hold all there may be, the one with most gives one up: the first after its system message.
        """
        if not self._room_for_checkpoint():
            most = max(self._taken.values(), key=len, default=[])
            if len(most) < FEW:
                return
            del most[1]
        self._taken.setdefault(answer.seq, []).append((answer.done, self._engine.checkpoint(answer.seq)))

    def keep(self, answer: Answer) -> None:
        """Hold what the engine has of `answer` for the next turn; what ends inside a picture is of no use."""
        if answer.is_amid_view:
            self.leave(answer)
            return
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
        self._begin()

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
        assert set(self._taken) <= set(self._own)
        assert set(self._states) == self._tree.checkpoints
        assert self._checkpoints <= self._engine.checkpoints

    # ── room ──

    def _thin_out(self) -> None:
        """While anyone is answered, send to the shelf what nobody uses, as fast as that writes."""
        while self._shelf is not None and self._own and self._tree.idle > self._engine.spared:
            if self._shelf.is_behind or not self._let_go(self._tree.unused()):
                return

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
        for gone in self._tree.drop(seq):
            del self._states[gone]
        self._own.pop(seq, None)
        self._taken.pop(seq, None)
        self._engine.trim(seq)
        self._free.append(seq)

    def _shelve(self, seq: int) -> None:
        if self._shelf is None:
            return
        held, tokens = self._kept[seq], self._tree.tokens(seq)
        marks = self._tree.marks(held.label.realm, tokens)
        with suppress(EngineFailed):  # what cannot be saved is read again
            taken = {length: self._states[checkpoint] for length, checkpoint in marks if length < len(tokens)}
            states = {length: taken[length] for length in checkpoints.lasting(list(taken))}
            self._shelf.put(held.label, tokens, self._engine.save(seq), states)
        self._kept[seq] = held._replace(shelved=True)

    def _unshelve(self, realm: str, tokens: list[int]) -> None:
        """Bring back from the shelf what it holds of `tokens` beyond what memory does."""
        if self._shelf is None:
            return
        while (found := self._shelf.find(realm, tokens, self._tree.find(realm, tokens).length)) is not None:
            if found.length > self._tree.held(realm, tokens).length and not self._fetch(found.book):
                return
            if found.checkpoint is None or not self._room_for_checkpoint():
                return
            if (state := self._shelf.read(found.checkpoint)) is not None:
                self._mark(realm, tokens[: found.length], state)
                return

    def _fetch(self, book: Book) -> bool:
        """Bring `book` back into memory; False where there is no room for it, or nothing in it."""
        assert self._shelf is not None
        if not self.room(len(book.tokens)) or (not self._free and not self._let_go_oldest()):
            return False
        state = self._shelf.read(book)
        if state is None:
            return False
        seq = self._free.pop()
        if not self._engine.restore(seq, state):
            self._engine.trim(seq)
            self._free.append(seq)
            self._shelf.drop(book)
            return False
        self._own[seq] = len(book.tokens)
        self._tree.open(seq, book.label.realm, [])
        self._settle(seq, book.label, book.tokens, shelved=True)
        return True

    def _settle(self, seq: int, label: Label, tokens: list[int], shelved: bool) -> None:
        """Enter a sequence that nobody uses now into the books; what it has in common with others is shared."""
        kept = self._tree.keep(seq, label.realm, tokens)
        del self._own[seq]
        for length, state in self._taken.pop(seq, []):
            self._mark(label.realm, tokens[:length], state)
        if kept.source is not None:
            self._share_again(seq, kept.source, kept.start, kept.end, len(tokens))
        for redundant, length in kept.redundant.items():
            if length < len(tokens) and self._worth(label.realm, tokens[:length]):
                self._mark(label.realm, tokens[:length], self._engine.checkpoint(redundant))
            self._engine.trim(redundant)
            del self._kept[redundant]
            self._free.append(redundant)
        self._kept[seq] = Holding(label, shelved)
        self._touch(label.realm, tokens)

    def _share_again(self, seq: int, source: int, start: int, end: int, length: int) -> None:
        """Of the `length` tokens of `seq`, hold those from `start` to `end` in the cells of `source`."""
        state = None
        if self._engine.cuts == "checkpoints":
            state = self._engine.checkpoint(seq)
            start = 0 if end == length else start  # no end is cut off, but all may be forgotten
        self._engine.trim(seq, start, end)
        self._engine.share(source, seq, start, end, state)

    # ── checkpoints ──

    @property
    def _checkpoints(self) -> int:
        return len(self._states) + sum(map(len, self._taken.values()))

    def _room_for_checkpoint(self) -> bool:
        """Make sure that one more may be held; False when all are in use."""
        while self._checkpoints >= self._engine.checkpoints:
            stalest = self._tree.stalest()
            if stalest is None:
                return False
            self._tree.unmark(stalest)
            del self._states[stalest]
        return True

    def _worth(self, realm: str, tokens: list[int]) -> bool:
        """Whether a checkpoint at the end of `tokens` would save reading, and there is room for it."""
        before = max((length for length, _ in self._tree.marks(realm, tokens)), default=0)
        return len(tokens) - before >= checkpoints.LEAST and self._room_for_checkpoint()

    def _mark(self, realm: str, tokens: list[int], state: bytes) -> None:
        """Hold `state` as the checkpoint at the end of `tokens`, unless there is one."""
        checkpoint = next(self._ids)
        if self._tree.mark(realm, tokens, checkpoint):
            self._states[checkpoint] = state

    def _touch(self, realm: str, tokens: list[int]) -> None:
        """The checkpoints on `tokens` are of use: the first one most of all, for most conversations begin with it."""
        marks = [checkpoint for _, checkpoint in self._tree.marks(realm, tokens)]
        for checkpoint in marks[1:] + marks[:1]:
            self._tree.touch(checkpoint)
