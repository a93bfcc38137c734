"""Bootstrap confidence intervals: how far a number could move with another test set of the same size."""

from collections.abc import Callable
from typing import cast

import numpy as np
import numpy.typing as npt

Interval = tuple[float, float]

_RESAMPLES = 2000
_BLOCK_ELEMENTS = 4_000_000


def bootstrap_mean(
    values_N: npt.NDArray[np.floating] | npt.NDArray[np.bool_],
    *,
    seed: int,
    resamples: int = _RESAMPLES,
    level: float = 0.95,
) -> Interval:
    """Percentile interval of the mean of `values_N`, resampling items with replacement.

    Memory stays flat: resamples are drawn in blocks. The same seed gives the same interval.

    Raises:
        ValueError: no values.
    """
    values = np.asarray(values_N, dtype=np.float64)
    if values.size == 0:
        raise ValueError("an interval needs at least one value, got 0")
    draws = np.random.default_rng(seed)
    block = max(1, _BLOCK_ELEMENTS // values.size)
    means = [
        values[draws.integers(0, values.size, (min(block, resamples - done), values.size))].mean(axis=1)
        for done in range(0, resamples, block)
    ]
    return _percentiles(np.concatenate(means), level)


def bootstrap_statistic(
    statistic: Callable[[npt.NDArray[np.int64]], float],
    size: int,
    *,
    seed: int,
    resamples: int = _RESAMPLES,
    level: float = 0.95,
) -> Interval:
    """Percentile interval of `statistic(indices)` for indices drawn from 0..size-1 with replacement."""
    if size == 0:
        raise ValueError("an interval needs at least one value, got 0")
    draws = np.random.default_rng(seed)
    drawn = np.array([statistic(draws.integers(0, size, size)) for _ in range(resamples)])
    return _percentiles(drawn, level)


def _percentiles(values: npt.NDArray[np.float64], level: float) -> Interval:
    tail = 50 * (1 - level)
    return cast(Interval, tuple(float(v) for v in np.percentile(values, [tail, 100 - tail])))
