"""One score as a type, the scores of one encoder, and how a record holds them.

A record is flat JSON: `top1` beside `top1_interval`, `top1_std_splits` and `top1_std_seeds`, chance once for all
variants. Records of earlier versions lack some of it: what is missing has a default, what is unknown is left alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, model_validator

from mscl.display.blocks import Number
from mscl.score.intervals import FEW_GROUPS, FEW_VIDEOS, Interval
from mscl.score.superclasses import RECORDED


class Frozen(BaseModel):
    """What no one changes, and which has no field but its own."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Score(Frozen):
    """One number of one encoder, 0..1; of several splits and seeds it is the mean."""

    value: float
    interval: Interval | None = None
    """95 % interval; None where none was taken, under `FEW_VIDEOS` and `FEW_GROUPS`, and where nothing varies."""
    chance: float | None = None
    """What would be scored without looking; None where that is not known."""
    std_splits: float | None = None
    """Standard deviation (n - 1) over the official splits."""
    std_seeds: float | None = None
    num_videos: int = 0
    """Test videos behind it, summed over the splits; 0: a record that does not say."""
    num_groups: int = 0
    """Groups of test videos, of the split that has the fewest; 0: every video is one, or a record that does not say."""

    @model_validator(mode="before")
    @classmethod
    def _no_interval_of_few(cls, values: Any) -> Any:
        few = (("num_videos", FEW_VIDEOS), ("num_groups", FEW_GROUPS))
        if isinstance(values, Mapping) and any(0 < values.get(name, 0) < least for name, least in few):
            return {**values, "interval": None}
        return values

    @property
    def decides_nothing(self) -> bool:
        """So few videos or groups that another handful could score anything."""
        return self.few != ""

    @property
    def few(self) -> str:
        """What there is too little of for an interval: `9 test videos`, `2 groups of test videos`; else empty."""
        if 0 < self.num_videos < FEW_VIDEOS:
            return f"{self.num_videos} test video{'s' if self.num_videos > 1 else ''}"
        if 0 < self.num_groups < FEW_GROUPS:
            return f"{self.num_groups} group{'s' if self.num_groups > 1 else ''} of test videos"
        return ""

    @property
    def cell(self) -> Number:
        """In %, with the interval where there is one."""
        return Number(percent(self.value), percents(self.interval) if self.interval else "")


def percent(share: float) -> str:
    """0.125 as 12.5."""
    return f"{100 * share:.1f}"


def percents(interval: Interval) -> str:
    """(0.31, 0.62) as 31–62."""
    return f"{100 * interval[0]:.0f}–{100 * interval[1]:.0f}"


class VariantScores(Frozen):
    """Scores of one encoder on one kind of clips, means over `splits` and `seeds`."""

    splits: tuple[int, ...] = ()
    seeds: tuple[int, ...] = ()

    def named(self) -> dict[str, Score]:
        """Every score by its name, in the order of a table: top-1 first, or R@k of the smallest k."""
        raise NotImplementedError

    def as_record(self) -> dict[str, Any]:
        """Plain values for a record, without chance, which all variants share."""
        raise NotImplementedError

    def chance_record(self) -> dict[str, float]:
        """Chance of every score, as a record has it."""
        return {name: score.chance for name, score in self.named().items() if score.chance is not None}

    @property
    def first_name(self) -> str:
        """Name of the score to see first."""
        return next(iter(self.named()))

    @property
    def first_title(self) -> str:
        """What tables call it."""
        return self.first_name

    @property
    def first(self) -> Score:
        """The score to see first."""
        return self.named()[self.first_name]

    def spread(self, *, of: str = "") -> str:
        """What the scores are a mean of, and how far its parts lie apart, as a phrase; empty where they are none.

        Args:
            of: what this encoder is called, where the phrase stands over several.
        """
        parts = []
        for which, numbers, std in (
            ("splits", self.splits, self.first.std_splits),
            ("seeds", self.seeds, self.first.std_seeds),
        ):
            if len(numbers) > 1:
                whose = f" of {of}" if of else ""
                apart = f" (standard deviation{whose} {percent(std)})" if std is not None else ""
                parts.append(f"{which} {', '.join(map(str, numbers))}{apart}")
        return f"mean over {' and '.join(parts)}" if parts else ""


def with_chance(variants: Mapping[str, VariantScores], *, beside: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The variants; after the first of them, where records have it, their chance and what stands beside it."""
    found: dict[str, Any] = {}
    for name, scores in variants.items():
        found[name] = scores.as_record()
        if "chance" not in found:
            found |= {"chance": scores.chance_record(), **(beside or {})}
    return found


def variants_of(metrics: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any], Mapping[str, float]]]:
    """Name, scores and chance of every variant that a record holds."""
    chance = metrics.get("chance", {})
    for name, flat in metrics.items():
        if isinstance(flat, Mapping) and name not in ("chance", "sizes", RECORDED):
            yield name, flat, chance


def groups_record(number: int) -> dict[str, int]:
    """The number of groups, where there are any."""
    return {"num_groups": number} if number else {}


def flat(scores: Mapping[str, Score]) -> dict[str, Any]:
    """Scores and their intervals, then how far splits and seeds lie apart."""
    flat: dict[str, Any] = {}
    for name, score in scores.items():
        flat[name] = score.value
        if score.interval is not None:
            flat[f"{name}_interval"] = list(score.interval)
    for name, score in scores.items():
        if score.std_splits is not None:
            flat[f"{name}_std_splits"] = score.std_splits
        if score.std_seeds is not None:
            flat[f"{name}_std_seeds"] = score.std_seeds
    return flat


def read_scores(
    flat: Mapping[str, Any],
    names: Sequence[str],
    *,
    num_videos: int,
    num_groups: int = 0,
    chance: Mapping[str, float] | None = None,
) -> dict[str, Any]:
    """Those of the named scores that there are."""
    return {
        name: Score(
            value=flat[name],
            interval=flat.get(f"{name}_interval"),
            chance=(chance or {}).get(name),
            std_splits=flat.get(f"{name}_std_splits"),
            std_seeds=flat.get(f"{name}_std_seeds"),
            num_videos=num_videos,
            num_groups=num_groups,
        )
        for name in names
        if name in flat
    }
