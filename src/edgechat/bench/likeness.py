"""Do two projectors see the same (cosine similarity of embeddings), and which is faster? Looked at in their own child.

pictures drawn on the spot ─► one projector ─► vectors ─┐
                           └► the other     ─► vectors ─┴► cosines, cell by cell · seconds
"""

import time
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgechat.bench import acuity, sight
from edgechat.prompt.sight import View
from edgechat.types import Struct
from edgechat.worker.looking import Looker, Open, Picture

ALIKE = 0.999  # mean cosine of a picture's cells, from which on another projector sees the same
SIDE = 384  # pixels of the picture whose encoding is timed
TIMES = 2


class Likeness(Struct, frozen=True):
    """The lowest mean cosine of a picture's cells, and how many times as fast the other projector is."""

    cosine: float
    speed: float

    @property
    def is_better(self) -> bool:
        """Whether the other one is faster, and sees the same."""
        return self.cosine >= ALIKE and self.speed > 1


def compare(model: Path, one: Path, other: Path, threads: int) -> Likeness:
    """What is lost and won by `other` in the place of `one`, both for `model`. Raises EngineFailed, ModelError."""
    shown = [picture for question in acuity.questions() for picture in question.pictures][:: acuity.EACH]
    shown.append(sight.noise(SIDE))
    (before, slow), (after, fast) = (_seen(model, projector, shown, threads) for projector in (one, other))
    return Likeness(min(map(_cosine, before, after)), slow / fast)


def _seen(
    model: Path, projector: Path, shown: Sequence[bytes], threads: int
) -> tuple[list[NDArray[np.float32]], float]:
    """The vectors of each picture, and the least seconds that the last one took."""
    looker = Looker(Open("llama_cpp", str(model), str(projector), ""), lambda: threads)
    try:
        found = [_vectors(looker, data) for data in shown]
        seconds = []
        for _ in range(TIMES):
            began = time.perf_counter()
            _vectors(looker, shown[-1])
            seconds.append(time.perf_counter() - began)
        return found, min(seconds)
    finally:
        looker.close()


def _vectors(looker: Looker, data: bytes) -> NDArray[np.float32]:
    """(cells, width) of a picture."""
    found = looker.look(0, sha256(data).hexdigest(), data, lambda _: None)
    assert isinstance(found, Picture)  # nobody stops it
    views = [piece for piece in found.sight if isinstance(piece, View)]
    cells = sum(len(view.cells) for view in views)
    return np.frombuffer(b"".join(view.vectors for view in views), np.float32).reshape(cells, -1)


def _cosine(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """Mean cosine of the rows."""
    lengths = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    return float(np.mean(np.sum(one * other, axis=1) / lengths))
