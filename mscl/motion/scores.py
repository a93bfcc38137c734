"""Motion scores of segments: how much, how much of the picture, how changing, and whether the camera or things move."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields

import numpy as np
from numpy.typing import NDArray

from mscl.motion.config import ScoreLimits, ScreenConfig
from storage.motion_store import MotionReader

MOVING_PX = 0.5
"""A pixel moves where its flow, in px of the stored grid, is longer."""


@dataclass(frozen=True)
class MotionScores:
    """Scores of one segment; px are those of the stored grid, means are over its fields."""

    mean_px: float
    """Mean magnitude of flow."""
    peak_px: float
    """Largest 99th percentile of the magnitude of a field."""
    moving: float
    """Share of the pixels that move, 0..1."""
    change: float
    """Mean motion difference d_j (METHOD 1.2): what motion differential sampling chooses clips by."""
    camera_px: float
    """Mean magnitude of the affine motion that most of a field follows: pans, zooms, turns."""
    object_px: float
    """Mean magnitude of what is left without that."""


NAMES = tuple(field.name for field in fields(MotionScores))


def scores_of(store: MotionReader, segment: int) -> MotionScores | None:
    """The scores of a segment; None where it has no fields."""
    if not store.num_fields(segment):
        return None
    means = {
        "mean_px": store.magnitude_mean(segment), "moving": store.moving_share(segment),
        "change": store.differences(segment), "camera_px": store.camera_mean(segment),
        "object_px": store.object_mean(segment),
    }  # fmt: skip
    return MotionScores(
        peak_px=float(store.magnitude_p99(segment).max()),
        **{name: float(values.mean(dtype=np.float64)) for name, values in means.items()},
    )


def score_table(store: MotionReader) -> dict[str, NDArray[np.float64]]:
    """Score -> one value a segment; NaN where a segment has no fields."""
    nothing = dict.fromkeys(NAMES, np.nan)
    rows = [asdict(found) if (found := scores_of(store, i)) else nothing for i in range(len(store))]
    return {name: np.array([row[name] for row in rows], dtype=np.float64) for name in NAMES}


def outside(scores: MotionScores, config: ScreenConfig) -> tuple[str, str] | None:
    """(setting, reason) of the first threshold that a segment misses; None where it meets all."""
    for limits, word, setting in ((config.min, "under", "screen.min"), (config.max, "above", "screen.max")):
        for name, bound in given(limits):
            value = getattr(scores, name)
            if value < bound if word == "under" else value > bound:
                return f"{setting}.{name}", f"{name} {told_from(bound, value)} is {word} {setting}.{name} {bound:.15g}"
    return None


def told_from(bound: float, value: float) -> str:
    """The value with three digits, or as many as tell it from the bound."""
    texts = [f"{value:.{digits}g}" for digits in (3, 6, 17)]
    return next((text for text in texts if float(text) != bound), texts[-1])


def given(limits: ScoreLimits) -> Iterator[tuple[str, float]]:
    """Names and values of the thresholds that are set."""
    for name in NAMES:
        if (bound := getattr(limits, name)) is not None:
            yield name, bound
