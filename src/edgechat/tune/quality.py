"""The quality floor: how far a model's answers are from its source's, over many rows (positions of a text). Pure.

A row's figures come from divergence.py; this file has no arrays, so that whoever only reads results loads none.
"""

from collections.abc import Sequence
from statistics import fmean, stdev
from typing import NamedTuple

from edgechat.types import Struct

SURE = 2.0  # standard errors: as sure as a choice among a handful needs to be


class Row(NamedTuple):
    """One position: divergence in nats, and whether the likeliest token is the same."""

    kld: float
    same: bool


class Quality(Struct, frozen=True):
    """Over many rows: mean divergence and its standard error, and the share of rows with the same top token."""

    kld: float
    error: float
    same_top: float
    rows: int

    @classmethod
    def of(cls, rows: Sequence[Row]) -> "Quality":
        """The summary of at least one row."""
        klds = [row.kld for row in rows]
        error = stdev(klds) / len(klds) ** 0.5 if len(klds) > 1 else klds[0]
        return cls(fmean(klds), error, fmean(row.same for row in rows), len(rows))

    def within(self, floor: float) -> bool:
        """Whether the measured mean keeps the floor."""
        return self.kld <= floor

    def hopeless(self, floor: float) -> bool:
        """Whether more rows would hardly bring the mean under `floor`."""
        return self.kld - SURE * self.error > floor
