"""The prefix cache: a radix tree of the tokens that the engine holds, and under which sequence. Pure.

The engine's cells are one pool; a cell may belong to several sequences. A branch of the tree is a run of cells, and
every sequence that passes through it shares them:

    system prompt ──┬── "Hello" ── answer ───── sequence 3 (kept)
     40 cells       │
     3, 5, 7        ├── "Hello" ── more ─────── sequence 5 (kept, least recently used: goes first)
                    │
                    └── (being read on) ─────── sequence 7 (in use: stays)

Sharing ends at the border of a realm (an API key): how fast an answer starts must not tell what another one wrote.

Where the engine keeps a running state (checkpoints.py), cells are not enough to go on from: a beginning is of use up to
where a kept sequence ends, for its state is that of its end, or up to a checkpoint. A checkpoint belongs to the end of
a branch, and is there for all who pass it, for as long as anybody holds the branch.
"""

from collections.abc import Iterator, Sequence
from itertools import count
from typing import NamedTuple

from edgechat.engine.base import Cuts


class Found(NamedTuple):
    """`length` tokens are held; `seq` is a sequence that holds them (None when the length is 0).

    `checkpoint` is that of the last one, where a running state is needed that is not the sequence's own.
    """

    length: int
    seq: int | None
    checkpoint: int | None = None


class Kept(NamedTuple):
    """What the engine has to do after `keep`: share [start, end) with `source`, then drop the `redundant` ones.

    Of those the number of tokens is told that each held.
    """

    source: int | None
    start: int
    end: int
    redundant: dict[int, int]


class _Branch:
    """A run of cells. `seqs` are the sequences that hold all of it; `checkpoint` is the state at its end."""

    def __init__(self, tokens: list[int], parent: "_Branch | None") -> None:
        self.tokens = tokens
        self.parent = parent
        self.children: dict[int, _Branch] = {}
        self.seqs: set[int] = set()
        self.checkpoint: int | None = None


class _Holder:
    """A sequence in the tree: where it ends, when it was last of use, whether it is in use now."""

    def __init__(self, end: _Branch, used: int) -> None:
        self.end = end
        self.used = used
        self.busy = True


class PrefixTree:
    """The shared cells. A sequence enters with `open`, stays with `keep`, leaves with `drop`."""

    def __init__(self, cuts: Cuts = "anywhere") -> None:
        self._cuts = cuts
        self._roots: dict[str, _Branch] = {}
        self._holders: dict[int, _Holder] = {}
        self._checkpoints: dict[int, _Branch] = {}  # least recently used first
        self._clock = count()
        self.cells = 0

    def held(self, realm: str, tokens: Sequence[int]) -> Found:
        """The longest beginning of `tokens` whose cells are held in `realm`."""
        branch, length = self._descend(self._roots.get(realm), tokens)
        if branch is None or not length:
            return Found(0, None)
        return Found(length, next(iter(branch.seqs)))

    def find(self, realm: str, tokens: Sequence[int]) -> Found:
        """The longest beginning of `tokens` that is held in `realm`, and from which the engine can go on."""
        if self._cuts == "anywhere":
            return self.held(realm, tokens)
        branch, length = self._descend(self._roots.get(realm), tokens)
        end = self._length(branch) if branch is not None else 0
        for one in self._path(branch) if branch is not None else ():
            if end <= length:
                idle = (seq for seq in one.seqs if self._holders[seq].end is one and not self._holders[seq].busy)
                if (seq := next(idle, None)) is not None:
                    return Found(end, seq)
                if one.checkpoint is not None:
                    return Found(end, next(iter(one.seqs)), one.checkpoint)
            end -= len(one.tokens)
        return Found(0, None)

    def open(self, seq: int, realm: str, tokens: Sequence[int]) -> None:
        """Sequence `seq` begins to use `tokens`, all of which must be held already; it is busy until `keep`."""
        assert seq not in self._holders
        end = self._extend(self._roots.setdefault(realm, _Branch([], None)), tokens, seq)
        self._holders[seq] = _Holder(end, next(self._clock))

    def keep(self, seq: int, realm: str, tokens: Sequence[int]) -> Kept:
        """Sequence `seq` is done and holds `tokens`. It stays until it is dropped.

        Where another sequence came to hold the same tokens meanwhile, the cells are to be shared; sequences whose
        tokens are all a beginning of these serve nothing any more.
        """
        before = self._length(self._holders[seq].end)
        held = self.held(realm, tokens)
        end = self._extend(self._roots.setdefault(realm, _Branch([], None)), tokens, seq)
        holder = self._holders[seq] = _Holder(end, next(self._clock))
        holder.busy = False
        path = list(self._path(end))
        redundant = {
            other: self._length(one.end)
            for other, one in self._holders.items()
            if other != seq and not one.busy and one.end in path
        }
        for other in redundant:
            self.drop(other)
        source = held.seq if held.length > before and held.seq != seq else None
        return Kept(source, before, held.length if source is not None else before, redundant)

    def drop(self, seq: int) -> list[int]:
        """Forget sequence `seq`; cells that nobody shares are free. Returns the checkpoints that went with them."""
        branch: _Branch | None = self._holders.pop(seq).end
        gone: list[int] = []
        while branch is not None:
            branch.seqs.discard(seq)
            parent = branch.parent
            if not branch.seqs and parent is not None:
                self.cells -= len(branch.tokens)
                del parent.children[branch.tokens[0]]
                if branch.checkpoint is not None:
                    del self._checkpoints[branch.checkpoint]
                    gone.append(branch.checkpoint)
            branch = parent
        return gone

    def use(self, seq: int) -> None:
        """Sequence `seq` is of use now."""
        self._holders[seq].used = next(self._clock)

    # ── checkpoints ──

    @property
    def checkpoints(self) -> set[int]:
        """All that there are."""
        return set(self._checkpoints)

    def mark(self, realm: str, tokens: Sequence[int], checkpoint: int) -> bool:
        """Put `checkpoint` at the end of `tokens`; False where their cells are not held, or there is one already."""
        branch, length = self._descend(self._roots.get(realm), tokens)
        if branch is None or length < len(tokens) or not tokens:
            return False
        branch = self._split(branch, len(branch.tokens) - (self._length(branch) - length))
        if branch.checkpoint is not None:
            return False
        branch.checkpoint = checkpoint
        self._checkpoints[checkpoint] = branch
        return True

    def unmark(self, checkpoint: int) -> None:
        """Forget `checkpoint`."""
        self._checkpoints.pop(checkpoint).checkpoint = None

    def marks(self, realm: str, tokens: Sequence[int]) -> list[tuple[int, int]]:
        """(length, checkpoint) of all that lie on `tokens`, as far as these are held, ascending."""
        branch, length = self._descend(self._roots.get(realm), tokens)
        found, end = [], self._length(branch) if branch is not None else 0
        for one in self._path(branch) if branch is not None else ():
            if one.checkpoint is not None and end <= length:
                found.append((end, one.checkpoint))
            end -= len(one.tokens)
        return found[::-1]

    def touch(self, checkpoint: int) -> None:
        """`checkpoint` is of use now."""
        self._checkpoints[checkpoint] = self._checkpoints.pop(checkpoint)

    def stalest(self) -> int | None:
        """The least recently used checkpoint, or None."""
        return next(iter(self._checkpoints), None)

    def oldest(self) -> int | None:
        """The least recently used sequence that is not busy, or None."""
        idle = [(holder.used, seq) for seq, holder in self._holders.items() if not holder.busy]
        return min(idle)[1] if idle else None

    def unused(self) -> int | None:
        """The least recently used sequence with cells that no busy one holds, or None."""
        busy = {seq for seq, holder in self._holders.items() if holder.busy}
        idle = [
            (holder.used, seq)
            for seq, holder in self._holders.items()
            if not holder.busy and busy.isdisjoint(holder.end.seqs)
        ]
        return min(idle)[1] if idle else None

    @property
    def idle(self) -> int:
        """Cells that no busy sequence holds."""
        busy = {seq for seq, holder in self._holders.items() if holder.busy}
        return sum(len(branch.tokens) for branch in self._branches() if busy.isdisjoint(branch.seqs))

    def __len__(self) -> int:
        return len(self._holders)

    def __contains__(self, seq: int) -> bool:
        return seq in self._holders

    def tokens(self, seq: int) -> list[int]:
        """All tokens that `seq` holds in the tree."""
        runs = [branch.tokens for branch in self._path(self._holders[seq].end)]
        return [token for run in reversed(runs) for token in run]

    def check(self) -> None:
        """Raise AssertionError unless every invariant holds. For tests and for idle moments."""
        cells = checkpoints = 0
        for child in self._branches():
            parent = child.parent
            assert parent is not None
            assert child.tokens
            assert parent.children[child.tokens[0]] is child
            assert child.seqs
            assert parent.parent is None or child.seqs <= parent.seqs
            assert child.checkpoint is None or self._checkpoints[child.checkpoint] is child
            checkpoints += child.checkpoint is not None
            cells += len(child.tokens)
        assert cells == self.cells
        assert checkpoints == len(self._checkpoints)
        for seq, holder in self._holders.items():
            assert all(seq in branch.seqs for branch in self._path(holder.end))

    # ── walking ──

    def _branches(self) -> Iterator[_Branch]:
        """All but the roots."""
        waiting = list(self._roots.values())
        while waiting:
            branch = waiting.pop()
            yield from branch.children.values()
            waiting += branch.children.values()

    def _path(self, branch: _Branch) -> Iterator[_Branch]:
        """`branch` and all above it but the root."""
        at: _Branch | None = branch
        while at is not None and at.parent is not None:
            yield at
            at = at.parent

    def _length(self, branch: _Branch) -> int:
        return sum(len(one.tokens) for one in self._path(branch))

    def _descend(self, root: _Branch | None, tokens: Sequence[int]) -> tuple[_Branch | None, int]:
        """(deepest branch that `tokens` enter, how many of them are held)."""
        branch, at = root, 0
        while branch is not None and at < len(tokens):
            child = branch.children.get(tokens[at])
            if child is None:
                break
            shared = common(child.tokens, tokens, at)
            branch, at = child, at + shared
            if shared < len(child.tokens):
                break
        return branch, at

    def _extend(self, root: _Branch, tokens: Sequence[int], seq: int) -> _Branch:
        """Lead `seq` along `tokens`, splitting and adding branches; returns the one where they end."""
        branch, at = root, 0
        while at < len(tokens):
            child = branch.children.get(tokens[at])
            if child is None:
                child = branch.children[tokens[at]] = _Branch(list(tokens[at:]), branch)
                self.cells += len(child.tokens)
            else:
                child = self._split(child, common(child.tokens, tokens, at))
            child.seqs.add(seq)
            branch, at = child, at + len(child.tokens)
        return branch

    def _split(self, branch: _Branch, length: int) -> _Branch:
        """The first `length` tokens of `branch` as a branch of their own."""
        if length == len(branch.tokens):
            return branch
        parent = branch.parent
        assert parent is not None
        upper = _Branch(branch.tokens[:length], parent)
        upper.seqs = set(branch.seqs)
        parent.children[upper.tokens[0]] = upper
        branch.tokens, branch.parent = branch.tokens[length:], upper
        upper.children[branch.tokens[0]] = branch
        return upper


def common(run: Sequence[int], tokens: Sequence[int], at: int = 0) -> int:
    """How many tokens `run` shares with `tokens` from `at` on."""
    most = min(len(run), len(tokens) - at)
    return next((i for i in range(most) if run[i] != tokens[at + i]), most)
