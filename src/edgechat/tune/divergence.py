"""KL divergence: how far a model's next-token probabilities are from its source's. Pure.

For every row (one position of the text) the Kullback-Leibler divergence in nats, and whether both put the same token
first:

    KLD = sum over the vocabulary of  p * (log p - log q)        p of the source, q of the candidate

The source's log probabilities are kept as float16. That is exact enough: the rounding errors of a row's 150,000 tokens
are weighted by p and have both signs (a test holds it against float64).
"""

import numpy as np
from numpy.typing import NDArray

from edgechat.tune.quality import Row

Floats = NDArray[np.float32]
Halves = NDArray[np.float16]


def log_probabilities(logits: Floats) -> Floats:
    """(rows, vocabulary) logits as log probabilities."""
    shifted: Floats = logits - logits.max(axis=1, keepdims=True)
    shifted -= np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return shifted


def compare(source: Halves, logits: Floats) -> list[Row]:
    """Each row of a candidate's `logits` against the `source`'s log probabilities, both (rows, vocabulary)."""
    p = source.astype(np.float32)
    q = log_probabilities(logits)
    divergence = (np.exp(p) * (p - q)).sum(axis=1)
    same = source.argmax(axis=1) == q.argmax(axis=1)
    return [Row(max(0.0, float(kld)), bool(one)) for kld, one in zip(divergence, same, strict=True)]
