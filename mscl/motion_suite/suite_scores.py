"""Scores of an encoder on the parts of the suite, beside every control, and what they say."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mscl.array_types import Floats, Ints
from mscl.demo.parts import DIRECTION, PARTS, Part
from mscl.errors import DataError
from mscl.score.config import ProbeConfig
from mscl.score.intervals import FEW_VIDEOS, Interval, mean_interval
from mscl.score.probe import linear_probe
from mscl.score.scores import Score, percent, percents
from mscl.video.clip_indices import Shown

KIND = "kind"
CHANCE = "chance"
STILL: tuple[Shown, ...] = ("first", "middle", "last")
_LEVEL = 0.99
"""Of the intervals that the verdict stands on: it looks at several parts and controls."""


@dataclass(frozen=True)
class LabelledPart:
    """A part by one of its labellings."""

    name: str
    part: Part
    classes: tuple[str, ...]
    label_of: tuple[int, ...]
    """Class of the part -> label."""
    ceiling: float | None
    """Share that a network of the demo's size, trained on the labels, calls right."""
    orderless: float
    """Share that could be right at most of frames without their order."""


def labellings(part: Part) -> list[LabelledPart]:
    """The part by its classes and, where it has kinds, by those."""
    own = tuple(part.classes)
    found = [LabelledPart(part.name, part, own, tuple(range(len(own))), part.ceiling, 0.5)]
    if part.kinds:
        kinds = tuple(part.kinds)
        label_of = tuple(kinds.index(part.kind_of(name)) for name in own)
        found.append(LabelledPart(KIND, part, kinds, label_of, part.kind_ceiling, 1.0))
    return found


@dataclass(frozen=True)
class PartScores:
    """Linear top-1 of one encoder on one labelling."""

    part: str
    moving: Score
    controls: Mapping[str, Score]
    """Control -> score: first, middle, last, shuffled, untrained."""
    above: Mapping[str, Interval | None]
    """Control, or `CHANCE` -> 99 % interval of moving minus it, video by video; None: of too few videos."""
    ceiling: float | None
    orderless: float

    @property
    def sees_motion(self) -> bool:
        """Moving clips score more than every single frame, and than guessing."""
        return all(self._is_above(name) for name in (CHANCE, *STILL))

    @property
    def sees_order(self) -> bool:
        """Moving clips score more than the same frames in random order, too."""
        return self.sees_motion and self._is_above("shuffled")

    @property
    def decides_something(self) -> bool:
        """Whether there are enough test videos to say that an encoder sees motion, or that it does not."""
        return all(self.above[name] is not None for name in STILL)

    def _is_above(self, control: str) -> bool:
        interval = self.above[control]
        return interval is not None and interval[0] > 0

    def as_record(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "part": self.part, "moving": self.moving.model_dump(mode="json"),
            "controls": {name: score.model_dump(mode="json") for name, score in self.controls.items()},
            "above": dict(self.above),
            "supervised_ceiling": self.ceiling, "without_order_at_most": self.orderless,
        }  # fmt: skip


def part_scores(
    labelled: LabelledPart, features: Mapping[str, Floats], labels_N: Ints, is_test_N: npt.NDArray[np.bool_]
) -> PartScores:
    """Logistic regression on the train videos' features, tested on the others, for what is shown and every control.

    Args:
        features: what is shown -> (N, C).
        labels_N: class of the part of each video.
    """
    labels_N = np.asarray(labelled.label_of)[labels_N]
    train, test = np.flatnonzero(~is_test_N), np.flatnonzero(is_test_N)
    scores: dict[str, Score] = {}
    right: dict[str, npt.NDArray[np.bool_]] = {}
    for name, features_NC in features.items():
        probe = linear_probe(
            features_NC[train], labels_N[train], features_NC[test], labels_N[test],
            num_classes=len(labelled.classes), config=ProbeConfig(),
        )  # fmt: skip
        scores[name], right[name] = probe.scores.scores()["top1"], probe.scores.right_N
    moving = right["moving"]
    above = {name: _difference(moving, right[name]) for name in features if name != "moving"}
    above[CHANCE] = _above_chance(moving, scores["moving"].chance)
    return PartScores(
        labelled.name,
        scores.pop("moving"),
        controls=scores,
        above=above,
        ceiling=labelled.ceiling,
        orderless=labelled.orderless,
    )


def _difference(first_N: npt.NDArray[np.bool_], second_N: npt.NDArray[np.bool_]) -> Interval | None:
    if len(first_N) >= FEW_VIDEOS and np.array_equal(first_N, second_N):
        return 0.0, 0.0  # right on the very same videos, which is no more than the control
    interval = mean_interval((1.0 + first_N - second_N.astype(float)) / 2, level=_LEVEL)
    return None if interval is None else (2 * interval[0] - 1, 2 * interval[1] - 1)


def _above_chance(right_N: npt.NDArray[np.bool_], chance: float | None) -> Interval | None:
    interval = mean_interval(right_N, level=_LEVEL)
    return None if interval is None or chance is None else (interval[0] - chance, interval[1] - chance)


def verdict(name: str, scores: Sequence[PartScores]) -> str:
    """One sentence: whether the encoder sees motion, and on what that stands."""
    if not any(found.decides_something for found in scores):
        few = max(scores, key=lambda found: found.moving.num_videos).moving.num_videos
        return f"{name}: {few} test videos decide nothing; give more, with --test-per-class."
    scores = [found for found in scores if found.decides_something]
    seen = [found for found in scores if found.sees_motion]
    if not seen:
        best = max(scores, key=lambda found: found.moving.value - max(found.controls[c].value for c in STILL))
        return (
            f"{name} is not seen to see motion: on {_listed(scores)} its clips do not score above chance and every "
            f"single frame, in {_LEVEL:.0%} intervals ({_against(best)})."
        )
    ordered = [found for found in seen if found.sees_order]
    best = max(ordered or seen, key=lambda found: found.moving.value - max(found.controls[c].value for c in STILL))
    order = (
        f", and its order in time on {_listed(ordered)}: there also above the same frames in random order"
        if ordered
        else f", and is not seen to see its order in time: nowhere are they above the same frames in random order, in "
        f"{_LEVEL:.0%} intervals"
    )
    return f"{name} sees motion: on {_listed(seen)} its clips score above every single frame ({_against(best)}){order}."


def _listed(scores: Sequence[PartScores]) -> str:
    return ", ".join(found.part for found in scores)


def _against(found: PartScores) -> str:
    interval = f" ({percents(found.moving.interval)})" if found.moving.interval else ""
    still = max(found.controls[name].value for name in STILL)
    return (
        f"{found.part}: {percent(found.moving.value)}{interval} against {percent(still)} from one frame and "
        f"{percent(found.controls['shuffled'].value)} shuffled"
    )


def part_names(wanted: Sequence[str]) -> list[str]:
    """Parts to write for the labellings asked for, all of them for none: `kind` is of `direction`.

    Raises:
        DataError: an unknown one.
    """
    for name in wanted:
        if name != KIND and name not in PARTS:
            raise DataError(f"unknown part {name!r} of the motion suite; parts: {', '.join((*PARTS, KIND))}")
    names = [DIRECTION if name == KIND else name for name in wanted] or list(PARTS)
    return list(dict.fromkeys(names))
