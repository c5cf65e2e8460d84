"""The radix tree against a plain model of it: a dictionary of token lists."""

import random

import pytest

from edgechat.scheduler.prefixes import Found, PrefixTree


def opened(tree: PrefixTree, seq: int, tokens: list[int], realm: str = "") -> None:
    """Read and keep `tokens` as sequence `seq`."""
    found = tree.find(realm, tokens)
    tree.open(seq, realm, tokens[: found.length])
    tree.keep(seq, realm, tokens)
    tree.check()


def test_a_common_beginning_is_held_once() -> None:
    tree = PrefixTree()
    opened(tree, 1, [1, 2, 3, 4])
    opened(tree, 2, [1, 2, 9])
    assert tree.cells == 5
    assert tree.find("", [1, 2, 3, 7]) == Found(3, 1)
    assert tree.find("", [1, 2]).length == 2
    assert tree.find("", [5]) == Found(0, None)


def test_nothing_is_shared_across_realms() -> None:
    tree = PrefixTree()
    opened(tree, 1, [1, 2, 3], realm="mine")
    assert tree.find("yours", [1, 2, 3]) == Found(0, None)
    opened(tree, 2, [1, 2, 3], realm="yours")
    assert tree.cells == 6


def test_the_next_turn_takes_the_place_of_the_last() -> None:
    tree = PrefixTree()
    opened(tree, 1, [1, 2, 3])
    tree.open(2, "", [1, 2, 3])
    kept = tree.keep(2, "", [1, 2, 3, 4, 5])
    assert kept.redundant == {1: 3}
    assert kept.source is None
    assert (tree.cells, len(tree)) == (5, 1)


def test_two_that_read_the_same_at_once_come_to_share() -> None:
    tree = PrefixTree()
    tree.open(1, "", [])
    tree.open(2, "", [])
    tree.keep(1, "", [1, 2, 3, 4])
    kept = tree.keep(2, "", [1, 2, 3, 9])
    assert (kept.source, kept.start, kept.end) == (1, 0, 3)
    assert tree.cells == 5


def test_the_least_recently_used_goes_first_and_the_busy_stay() -> None:
    tree = PrefixTree()
    opened(tree, 1, [1, 1])
    opened(tree, 2, [2, 2])
    tree.open(3, "", [1, 1])
    assert tree.oldest() == 1
    tree.drop(1)
    assert tree.cells == 4  # what 3 uses is still there
    assert tree.oldest() == 2
    tree.drop(2)
    assert tree.oldest() is None
    tree.drop(3)
    assert tree.cells == 0


@pytest.mark.parametrize("seed", range(200))
def test_random_lives_agree_with_a_plain_model(seed: int) -> None:
    dice, tree = random.Random(seed), PrefixTree()
    kept: dict[int, tuple[str, list[int]]] = {}
    busy: dict[int, tuple[str, list[int], int]] = {}
    for seq in range(60):
        realm, tokens = dice.choice("ab"), [dice.randrange(3) for _ in range(dice.randrange(1, 9))]
        found = tree.find(realm, tokens)
        holders = [(r, t[:n]) for r, t, n in busy.values()] + list(kept.values())
        longest = max((shared(t, tokens) for r, t in holders if r == realm), default=0)
        assert found.length == longest
        tree.open(seq, realm, tokens[: found.length])
        busy[seq] = (realm, tokens, found.length)
        while busy and dice.random() < 0.6:
            one = dice.choice(list(busy))
            realm, tokens, _ = busy.pop(one)
            result = tree.keep(one, realm, tokens)
            if result.source is not None:  # shared first, dropped after, where it is redundant itself
                holder = kept.get(result.source) or busy[result.source]
                assert holder[1][: result.end] == tokens[: result.end]
            kept[one] = (realm, tokens)
            for gone, length in result.redundant.items():
                r, t = kept.pop(gone)
                assert (r, len(t)) == (realm, length)
                assert tokens[: len(t)] == t
        if kept and dice.random() < 0.3:
            oldest = tree.oldest()
            assert oldest in kept
            tree.drop(oldest)
            del kept[oldest]
        tree.check()
        assert {seq: tree.tokens(seq) for seq in kept} == {seq: tokens for seq, (_, tokens) in kept.items()}
        prefixes = {(r, tuple(t[:n])) for r, t in kept.values() for n in range(1, len(t) + 1)}
        prefixes |= {(r, tuple(t[:n])) for r, t, most in busy.values() for n in range(1, most + 1)}
        assert tree.cells == len(prefixes)


def shared(a: list[int], b: list[int]) -> int:
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))


def test_what_nobody_in_use_shares_is_unused() -> None:
    tree = PrefixTree()
    opened(tree, 1, [1, 2, 3])
    opened(tree, 2, [7, 8])
    opened(tree, 3, [1, 2, 9])
    tree.open(4, "", [1, 2, 3])
    assert tree.unused() == 2
    tree.drop(2)
    assert tree.unused() == 3
    tree.drop(3)
    assert tree.unused() is None  # all of 1 is in use by 4
