"""Rows of an ablation, and what is read from them: means, spreads, paired differences."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from mscl.ablation.plan import EQUAL_TIME, RANDOM_WEIGHTS, REFERENCE, SUPERVISED

RETRIEVAL, LINEAR = "retrieval_r1", "linear_top1"
METRIC_TITLES = {RETRIEVAL: "retrieval R@1", LINEAR: "linear top-1"}
STILL_SUFFIXES = ("_first", "_middle", "_last")
"""Ends the name of a metric taken on clips that repeat that one frame of the video."""
SHUFFLED_SUFFIX = "_shuffled"
"""Ends the name of a metric taken on clips whose frames are in random order."""
LEAST_PAIRS = 3
"""Pairs of seeds from which an interval is given: of two it is 13 standard errors wide and says nothing."""
_ORDER = (
    REFERENCE, "mscl-no-fra", "mscl-no-lmcl", "mscl-no-mds", "mscl-rotation-negatives", "mscl-rotation-both",
    "mscl-rotation-hard", "flow-rgb-only", "moco", "released-d5", "released-d6", "released-d7", "released-d25",
    SUPERVISED, RANDOM_WEIGHTS,
)  # fmt: skip
"""Of the rows on a page; other overlays follow by name."""


@dataclass(frozen=True)
class SeedScore:
    """One number of one training run."""

    set: str
    preset: str
    seed: int
    metric: str
    value: float
    """Share of the test videos, 0..1."""


@dataclass(frozen=True)
class MeanOverSeeds:
    """Mean over seeds and its spread."""

    mean: float
    spread: float
    """Standard deviation over seeds; NaN for one seed."""
    seeds: int


@dataclass(frozen=True)
class Difference:
    """Reference minus preset, seed by seed."""

    mean: float
    half_width: float
    """Of the 95 % interval of the mean by Student's t over the seeds; NaN below `LEAST_PAIRS`."""
    by_seed: tuple[float, ...]


def as_json(rows: Iterable[SeedScore]) -> list[dict[str, Any]]:
    """Rows as plain values, in a fixed order."""
    ordered = sorted(rows, key=lambda row: (row.set, row.metric, row.preset, row.seed))
    return [asdict(row) | {"value": round(row.value, 6)} for row in ordered]


def from_json(content: Iterable[dict[str, Any]]) -> list[SeedScore]:
    """What `as_json` wrote."""
    return [SeedScore(**row) for row in content]


def presets_of(rows: Sequence[SeedScore]) -> list[str]:
    """Method and variants, each with its sweep and equal time; then ceiling and floor; then other overlays."""

    def place(preset: str) -> tuple[int, str]:
        own = [name for name in _ORDER if preset == name or preset.startswith((f"{name} ", f"{name}{EQUAL_TIME}"))]
        return _ORDER.index(own[0]) if own else len(_ORDER), preset

    return sorted({row.preset for row in rows}, key=place)


def score(rows: Sequence[SeedScore], preset: str, metric: str) -> MeanOverSeeds | None:
    """Mean of a metric over the seeds of a preset; None without any."""
    values = np.array(list(_by_seed(rows, preset, metric).values()))
    if not len(values):
        return None
    return MeanOverSeeds(float(values.mean()), float(values.std(ddof=1)) if len(values) > 1 else math.nan, len(values))


def difference(rows: Sequence[SeedScore], reference: str, preset: str, metric: str) -> Difference | None:
    """Paired difference `reference` - `preset` over the seeds that both have; None without any."""
    first, second = _by_seed(rows, reference, metric), _by_seed(rows, preset, metric)
    shared = [seed for seed in first if seed in second]
    if not shared:
        return None
    values = np.array([first[seed] - second[seed] for seed in shared])
    half_width = math.nan
    if len(values) >= LEAST_PAIRS:
        from scipy.stats import t  # comes with scikit-learn

        half_width = float(t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / math.sqrt(len(values)))
    return Difference(float(values.mean()), half_width, tuple(float(v) for v in values))


def best_of(rows: Sequence[SeedScore], presets: Sequence[str]) -> str:
    """The preset with the highest mean over both metrics, the first of equals."""

    def mean(preset: str) -> float:
        found = [s.mean for metric in METRIC_TITLES if (s := score(rows, preset, metric)) is not None]
        return sum(found) / len(found)

    return max(presets, key=mean)


def renamed(rows: Iterable[SeedScore], preset: str, name: str) -> list[SeedScore]:
    """The rows of `preset` once more, under another name."""
    return [SeedScore(row.set, name, row.seed, row.metric, row.value) for row in rows if row.preset == preset]


def _by_seed(rows: Sequence[SeedScore], preset: str, metric: str) -> dict[int, float]:
    return {row.seed: row.value for row in rows if row.preset == preset and row.metric == metric}
