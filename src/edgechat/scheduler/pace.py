"""How much of a prompt the next step reads. Pure: step times are handed in.

A step is one token for every reader and a slice of somebody's prompt. Its time is about

    seconds = decode(readers) + slice * per token

Both terms are learned from the steps themselves, so the slice follows the machine, the model, the depth and the
neighbours. While somebody reads, a step should stay under READING seconds; else it may take ALONE seconds: long enough
to be fast, short enough for a cancelled or new request to be noticed.
"""

READING = 0.060
ALONE = 0.800
LEAST = 8  # prompt tokens per step: the newcomer goes on whatever the others cost
ROUND = 8  # slices are multiples of this
FORGET = 0.25  # weight of the newest reading; twice that for a faster one: a disturbance passes


class Pace:
    """The slice, learned from measured steps."""

    def __init__(self, most: int) -> None:
        """`most` tokens fit into one step."""
        self._most = most
        self._per_token: float | None = None
        self._decode: dict[int, float] = {}

    def slice(self, readers: int) -> int:
        """Prompt tokens for a step that also serves `readers`."""
        if self._per_token is None:
            return min(self._most, 16 if readers else 32)
        room = (READING - self._decode_time(readers)) if readers else ALONE
        fitting = int(room / self._per_token) // ROUND * ROUND
        return max(LEAST, min(fitting, self._most - readers))

    def measured(self, readers: int, tokens: int, seconds: float) -> None:
        """A step with `readers` and `tokens` of prompts took `seconds`."""
        if tokens == 0:
            self._decode[readers] = _blend(self._decode.get(readers), seconds)
        elif tokens >= LEAST:
            rest = max(seconds - self._decode_time(readers), seconds / 10)
            self._per_token = _blend(self._per_token, rest / tokens)

    def _decode_time(self, readers: int) -> float:
        """Seconds of a step with `readers` and no prompt; from the nearest count that was measured."""
        if not readers or not self._decode:
            return 0.0
        nearest = min(self._decode, key=lambda count: (abs(count - readers), count))
        return self._decode[nearest]


def _blend(old: float | None, new: float) -> float:
    return new if old is None else old + (FORGET if new > old else 2 * FORGET) * (new - old)
