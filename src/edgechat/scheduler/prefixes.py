"""The prefix cache: a radix tree of the tokens that the engine holds, and under which sequence. Pure.

The engine's cells are one pool; a cell may belong to several sequences. A branch of the tree is a run of cells, and
every sequence that passes through it shares them:

    system prompt ──┬── "Hello" ── answer ───── sequence 3 (kept)
     40 cells       │
     3, 5, 7        ├── "Hello" ── more ─────── sequence 5 (kept, least recently used: goes first)
                    │
                    └── (being read on) ─────── sequence 7 (in use: stays)

Sharing ends at the border of a realm (an API key): how fast an answer starts must not tell what another one wrote.
"""

from collections.abc import Iterator, Sequence
from itertools import count
from typing import NamedTuple


class Found(NamedTuple):
    """`length` tokens are held; `seq` is a sequence that holds them (None when the length is 0)."""

    length: int
    seq: int | None


class Kept(NamedTuple):
    """What the engine has to do after `keep`: share [start, end) with `source`, then drop the `redundant` ones."""

    source: int | None
    start: int
    end: int
    redundant: tuple[int, ...]


class _Branch:
    """A run of cells. `seqs` are the sequences that hold all of it."""

    def __init__(self, tokens: list[int], parent: "_Branch | None") -> None:
        self.tokens = tokens
        self.parent = parent
        self.children: dict[int, _Branch] = {}
        self.seqs: set[int] = set()


class _Holder:
    """A sequence in the tree: where it ends, when it was last of use, whether it is in use now."""

    def __init__(self, end: _Branch, used: int) -> None:
        self.end = end
        self.used = used
        self.busy = True


class PrefixTree:
    """The shared cells. A sequence enters with `open`, stays with `keep`, leaves with `drop`."""

    def __init__(self) -> None:
        self._roots: dict[str, _Branch] = {}
        self._holders: dict[int, _Holder] = {}
        self._clock = count()
        self.cells = 0

    def find(self, realm: str, tokens: Sequence[int]) -> Found:
        """The longest beginning of `tokens` that is held in `realm`."""
        branch, length = self._descend(self._roots.get(realm), tokens)
        if branch is None or not length:
            return Found(0, None)
        return Found(length, next(iter(branch.seqs)))

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
        held = self.find(realm, tokens)
        self.drop(seq)
        end = self._extend(self._roots.setdefault(realm, _Branch([], None)), tokens, seq)
        holder = self._holders[seq] = _Holder(end, next(self._clock))
        holder.busy = False
        path = list(self._path(end))
        redundant = tuple(
            other for other, one in self._holders.items() if other != seq and not one.busy and one.end in path
        )
        for other in redundant:
            self.drop(other)
        source = held.seq if held.length > before and held.seq != seq else None
        return Kept(source, before, held.length if source is not None else before, redundant)

    def drop(self, seq: int) -> None:
        """Forget sequence `seq`; cells that nobody shares are free."""
        branch: _Branch | None = self._holders.pop(seq).end
        while branch is not None:
            branch.seqs.discard(seq)
            parent = branch.parent
            if not branch.seqs and parent is not None:
                self.cells -= len(branch.tokens)
                del parent.children[branch.tokens[0]]
            branch = parent

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
        cells = 0
        for root in self._roots.values():
            waiting = [root]
            while waiting:
                branch = waiting.pop()
                for first, child in branch.children.items():
                    assert child.tokens
                    assert child.tokens[0] == first
                    assert child.parent is branch
                    assert child.seqs
                    assert branch is root or child.seqs <= branch.seqs
                    cells += len(child.tokens)
                    waiting.append(child)
        assert cells == self.cells
        for seq, holder in self._holders.items():
            assert all(seq in branch.seqs for branch in self._path(holder.end))

    # ── walking ──

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
