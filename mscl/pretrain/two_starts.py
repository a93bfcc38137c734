"""Where the two clips of a video begin (METHOD 1.3)."""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mscl.array_types import Ints
from mscl.errors import DataError
from storage.manifest import Manifest
from storage.screen_table import ScreenTable

_DRAWS_O1 = 11
"""METHOD 1.3: at most this many draws for a chosen o1."""


@dataclass(frozen=True, eq=False)
class ChosenStarts:
    """Chosen clip starts of every segment (METHOD 1.2), ragged in two flat arrays.

    Flat, because a list of 100,000 arrays would be copied page by page into every forked worker.
    Starts of one segment are ascending and not negative.

    Raises:
        DataError: the arrays do not fit each other.
    """

    offsets: Ints
    """(S + 1,): starts of segment i are `values[offsets[i] : offsets[i + 1]]`."""
    values: Ints

    def __post_init__(self) -> None:
        offsets, values = self.offsets, self.values
        if offsets.ndim != 1 or values.ndim != 1 or len(offsets) == 0 or offsets[0] != 0:
            raise DataError(
                f"chosen starts need 1-D offsets from 0, got offsets {offsets.shape}, values {values.shape}"
            )
        if (np.diff(offsets) < 0).any() or offsets[-1] != len(values):
            raise DataError(f"chosen starts: offsets end at {offsets[-1]}, there are {len(values)} values")
        inside = np.ones(len(values), dtype=bool)
        first = offsets[:-1]
        inside[first[first < len(values)]] = False
        if (values < 0).any() or (np.diff(values)[inside[1:]] <= 0).any():
            raise DataError("chosen starts of a segment must be ascending and not negative")

    @classmethod
    def from_arrow(cls, starts: "pa.ChunkedArray[Any]") -> Self:
        """From a list column of the screen table, without a Python object per segment."""
        lengths = pc.fill_null(pc.list_value_length(starts), 0).to_numpy()
        offsets = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(lengths, dtype=np.int64)])
        return cls(offsets, pc.list_flatten(starts).to_numpy().astype(np.int64))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def of(self, segment: int) -> Ints:
        """Ascending chosen starts of one segment; empty if it was screened out."""
        return self.values[self.offsets[segment] : self.offsets[segment + 1]]

    def segments(self) -> Ints:
        """Rows with at least one chosen start, ascending."""
        return np.flatnonzero(np.diff(self.offsets))


def nearest_start(chosen: Ints, target: int) -> int:
    """Chosen start nearest to `target`, the smaller of two equally near (D4: a true nearest search).

    `chosen` is ascending and not empty.
    """
    right = int(np.searchsorted(chosen, target))
    if right == 0:
        return int(chosen[0])
    if right == len(chosen):
        return int(chosen[-1])
    below, above = int(chosen[right - 1]), int(chosen[right])
    return below if target - below <= above - target else above


def two_starts(chosen: Ints, num_fields: int, *, length: int, stride: int, rng: np.random.Generator) -> tuple[int, int]:
    """Starts (o1, o2) of the query and the key clip (METHOD 1.3).

    o1 ~ U{0 .. max(M - L * s, 0)}, drawn up to 11 times until it is chosen, else the first chosen start.
    o2 is the chosen start nearest to o1 + delta, delta ~ U{-L * s .. L * s}.
    Without any chosen start both are 0. The generator advances by the same amount on every path.
    """
    reach = length * stride
    draws = rng.integers(0, max(num_fields - reach, 0), size=_DRAWS_O1, endpoint=True)
    delta = int(rng.integers(-reach, reach, endpoint=True))
    if len(chosen) == 0:
        return 0, 0
    hits = np.flatnonzero(np.isin(draws, chosen))
    first = int(draws[hits[0]]) if len(hits) else int(chosen[0])
    return first, nearest_start(chosen, first + delta)


def segments_to_train_on(manifest: Manifest, screen: ScreenTable) -> tuple[Ints, ChosenStarts]:
    """Train and unlabelled segments with at least one chosen clip start, and all chosen starts."""
    chosen = ChosenStarts.from_arrow(screen.table["chosen"])
    in_train = np.flatnonzero(np.isin(manifest.column("split"), ("train", "unlabelled")))
    return np.intersect1d(in_train, chosen.segments()), chosen
