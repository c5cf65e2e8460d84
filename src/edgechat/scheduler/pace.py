"""Chunked prefill: how much of a prompt the next step reads. Pure: step times are handed in.

A step is one token for every writer and a slice of somebody's prompt. Its time is about

    seconds = decode(writers) + (slice + OVERHEAD) * per token

Both terms are learned from the steps themselves, so the slice follows the machine, the model, the depth and the
neighbours; of one step that takes much longer than usual little is believed. While somebody writes, a step should stay
under BESIDE seconds; where that is less than one block of rows, it may come near STALL: half a block takes much more
than half the time, and the newcomer would wait for it. What such short steps take is remembered for each count of
rows: the sum above is wrong where a writer's token waits for memory and a slice for arithmetic, which go on at once.
With no writer a step may take ALONE seconds: long enough to be fast, short enough for a cancelled or new request to be
noticed.
"""

import math

BESIDE = 0.060
STALL = 0.080  # a reader notices a tenth of a second, and a step may take a fifth longer than the ones before
ALONE = 0.800
LEAST = 7  # prompt tokens per step: the newcomer goes on whatever the others cost
UNTRIED = 0.5  # of its proportional cost is what a writer more than ever tried is believed to cost: so it gets tried
OVERHEAD = 5  # tokens' time that a slice takes beside that of its own: measured 3 to 7, by depth
ROWS = 16  # a step has a multiple of this many rows: the matrix kernels' blocks, one row more costs as much as three
TILE = 4  # rows of the smallest step: what the kernels compute at once within a block
BATCH = 128  # rows computed at once: a larger step has whole batches, for a rest costs a call of its own
FORGET = 0.25  # weight of the newest measurement; twice that for a faster one: a disturbance passes
SURPRISE = 1.5  # times what is known is the most that is believed at once


class Pace:
    """The slice, learned from measured steps."""

    def __init__(self, most: int) -> None:
        """`most` tokens fit into one step."""
        self._most = most
        self._per_token: float | None = None
        self._decode: dict[int, float] = {}
        self._short: dict[int, float] = {}  # seconds of a step beside writers, by its rows

    def slice(self, writers: int) -> int:
        """Prompt tokens for a step that also serves `writers`."""
        if self._per_token is None:
            return min(self._most, max(ROWS - writers, LEAST) if writers else 2 * ROWS)
        before = self._expected(writers)
        rows = min(int(self._fitting(BESIDE - before if writers else ALONE)) + writers, self._most)
        rows -= rows % (BATCH if rows > BATCH else ROWS)
        least = -(-(writers + LEAST) // TILE) * TILE
        if rows >= ROWS:
            return max(rows, least) - writers
        tiles = range(ROWS, least, -TILE)
        return next((count for count in tiles if self._seconds(writers, count) <= STALL), least) - writers

    def seconds(self, tokens: int) -> float:
        """What it takes to read `tokens` of prompts while nobody reads an answer; 0 while nothing is known."""
        return tokens * (self._per_token or 0.0)

    def tokens(self, seconds: float) -> float:
        """How many of a prompt would be read in `seconds`, beside nobody; 0 while nothing is known."""
        return seconds / self._per_token if self._per_token else 0.0

    def writers(self, clients: int, most: int) -> int:
        """How many may say a token in one step, from `clients` up to `most`, so that each client keeps its share.

        Alone, a client would get a token every decode(1) seconds; with n clients here, one at least every n of those.
        """
        alone = self._expected(1)
        fitting = (n for n in range(most, clients, -1) if self._expected(n) <= clients * alone)
        return most if clients <= 1 else next(fitting, min(clients, most))

    def measured(self, writers: int, tokens: int, seconds: float) -> None:
        """A step with `writers` and `tokens` of prompts took `seconds`."""
        if tokens == 0:
            self._decode[writers] = _blend(self._decode.get(writers), seconds)
            return
        if tokens >= LEAST:
            if writers and writers + tokens <= ROWS:
                self._remember(writers, writers + tokens, seconds)
            rest = max(seconds - self._expected(writers), seconds / 10)
            self._per_token = _blend(self._per_token, rest / (tokens + OVERHEAD))

    def _remember(self, writers: int, rows: int, seconds: float) -> None:
        """A step of `rows` took so long. Where that is news, it is half believed of steps of more rows or fewer."""
        old = self._short.get(rows)
        if old is None:
            known = self._per_token is not None
            self._short[rows] = min(seconds, SURPRISE * self._seconds(writers, rows)) if known else seconds
            return
        new = _blend(old, seconds)
        self._short = {count: known * math.sqrt(new / old) for count, known in self._short.items()}
        self._short[rows] = new

    def _seconds(self, writers: int, rows: int) -> float:
        """Seconds of a short step: measured, on the line through the two nearest that were, or by the sum above."""
        assert self._per_token is not None
        if rows in self._short:
            return self._short[rows]
        near = sorted(self._short, key=lambda count: abs(count - rows))[:2]
        if len(near) < 2:
            return self._expected(writers) + (rows - writers + OVERHEAD) * self._per_token
        one, two = near
        slope = (self._short[two] - self._short[one]) / (two - one)
        return self._short[one] + max(slope, 0.0) * (rows - one)

    def _fitting(self, seconds: float) -> float:
        """Prompt tokens that are read in `seconds`."""
        assert self._per_token is not None
        return seconds / self._per_token - OVERHEAD

    def _expected(self, writers: int) -> float:
        """Seconds of a step with `writers` and no prompt: measured, or drawn from the counts beside it."""
        below = max((count for count in self._decode if count <= writers), default=None)
        above = min((count for count in self._decode if count >= writers), default=None)
        if below is None:
            return 0.0 if above is None else self._decode[above] * writers / above
        if above is None or above == below:
            return self._decode[below] * (1 + UNTRIED * (writers - below) / below)
        weight = (writers - below) / (above - below)
        return (1 - weight) * self._decode[below] + weight * self._decode[above]


def _blend(old: float | None, new: float) -> float:
    if old is None:
        return new
    return old + (FORGET if new > old else 2 * FORGET) * (min(new, SURPRISE * old) - old)
