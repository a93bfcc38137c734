"""Scores as types, and how a record holds them.

A record is flat JSON: `top1` beside `top1_interval`, `top1_std_splits` and `top1_std_seeds`, chance once for all
variants. Records of earlier versions lack some of it: what is missing has a default, what is unknown is left alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, model_validator

from mscl.display.blocks import Number
from mscl.score.intervals import FEW_GROUPS, FEW_VIDEOS, Interval
from mscl.score.superclasses import RECORDED
from mscl.stage.skipped import Skipped

HEADS = {"linear": "Linear probe", "knn": "k nearest neighbours", "attentive": "Attentive probe"}
"""Classifiers on frozen features, as tables and pictures call them."""
TITLES = {"top1": "top-1", "top5": "top-5", "mean_class": "class mean"}
"""Scores whose names are no words, as tables call them."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Score(_Frozen):
    """One number of one encoder, 0..1; of several splits and seeds it is the mean."""

    value: float
    interval: Interval | None = None
    """95 % interval; None where none was taken, under `FEW_VIDEOS`, and under `FEW_GROUPS`."""
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


class VariantScores(_Frozen):
    """Scores of one encoder on one kind of clips, means over `splits` and `seeds`."""

    main: ClassVar[str]
    """The score to see first."""
    splits: tuple[int, ...] = ()
    seeds: tuple[int, ...] = ()

    def named(self) -> dict[str, Score]:
        """Every score by its name, in the order of a table."""
        raise NotImplementedError

    def as_record(self) -> dict[str, Any]:
        """Plain values for a record, without chance, which all variants share."""
        raise NotImplementedError

    def chance_record(self) -> dict[str, float]:
        """Chance of every score, as a record has it."""
        return {name: score.chance for name, score in self.named().items() if score.chance is not None}

    @property
    def first(self) -> Score:
        """The main score."""
        return self.named()[self.main]

    def spread(self) -> str:
        """What the scores are a mean of, and how far its parts lie apart, as a phrase; empty where they are none."""
        parts = []
        for which, numbers, std in (
            ("splits", self.splits, self.first.std_splits),
            ("seeds", self.seeds, self.first.std_seeds),
        ):
            if len(numbers) > 1:
                apart = f" (standard deviation {percent(std)})" if std is not None else ""
                parts.append(f"{which} {', '.join(map(str, numbers))}{apart}")
        return f"mean over {' and '.join(parts)}" if parts else ""


class Details(_Frozen):
    """How a classifier was made; None: what its kind does not have, or a mean over several."""

    l2: float | None = None
    """`linear`: regularisation strength 1/C that cross-validation on the train split chose."""
    folds: int | None = None
    """`linear`: of that cross-validation; 0 where the classes were too small for any."""
    train_accuracy: float | None = None
    k: int | None = None
    """`knn`: neighbours that vote."""
    epochs: int | None = None
    """Fine-tuning and `attentive`."""
    train_loss: float | None = None
    """Fine-tuning and `attentive`: of the last epoch."""

    def as_record(self) -> dict[str, int | float]:
        """Those that there are."""
        return self.model_dump(exclude_none=True)

    @classmethod
    def read(cls, flat: Mapping[str, Any]) -> Self:
        """What a record says beside the scores."""
        return cls(**{name: flat[name] for name in cls.model_fields if name in flat})


class _Classifier(_Frozen):
    """Scores of a classifier."""

    top1: Score
    top5: Score | None = None
    """None with five classes or fewer, where it says nothing."""
    mean_class: Score | None = None
    """Mean of the accuracies of the classes that the test set has."""
    num_test: int = 0
    """Test videos, summed over the splits."""
    num_groups: int = 0
    """Groups of them, of the split that has the fewest; 0: every video is one."""
    details: Details = Details()
    warnings: tuple[str, ...] = ()

    def named(self) -> dict[str, Score]:
        """Every score by its name, in the order of a table."""
        scores = {"top1": self.top1, "top5": self.top5, "mean_class": self.mean_class}
        return {name: score for name, score in scores.items() if score is not None}


class ClassifierRun(_Classifier):
    """One classifier, trained and tested once."""

    split: int
    seed: int

    def as_record(self) -> dict[str, Any]:
        """Plain values for a record."""
        return {
            "split": self.split, "seed": self.seed, **flat(self.named()), "num_test": self.num_test,
            **_groups(self.num_groups), **self.details.as_record(), "warnings": list(self.warnings),
        }  # fmt: skip

    @classmethod
    def read(cls, flat: Mapping[str, Any]) -> Self:
        """What `as_record` wrote."""
        num_test = int(flat.get("num_test", 0))
        num_groups = int(flat.get("num_groups", 0))
        scores = _scores(flat, ("top1", "top5", "mean_class"), num_videos=num_test, num_groups=num_groups)
        return cls(
            **scores, num_test=num_test, num_groups=num_groups, split=flat.get("split", 1), seed=flat.get("seed", 0),
            details=Details.read(flat), warnings=flat.get("warnings", ()),
        )  # fmt: skip


class ClassifierScores(_Classifier, VariantScores):
    """Scores of a classifier, and every run behind them."""

    main: ClassVar[str] = "top1"
    runs: tuple[ClassifierRun, ...] = ()

    def chance_record(self) -> dict[str, float]:
        """Chance by the largest class, which top-1 is compared with, and by guessing one at random."""
        uniform = self.mean_class.chance if self.mean_class is not None else None
        chance = {"top1": self.top1.chance, "uniform": uniform, "mean_class": uniform}
        return {name: value for name, value in chance.items() if value is not None}

    def as_record(self) -> dict[str, Any]:
        """Plain values for a record, without chance, which all variants share."""
        return {
            **flat(self.named()), "num_test": self.num_test, **_groups(self.num_groups), "splits": list(self.splits),
            "seeds": list(self.seeds),
            "runs": [run.as_record() for run in self.runs], **self.details.as_record(), "warnings": list(self.warnings),
        }  # fmt: skip

    @classmethod
    def read(cls, flat: Mapping[str, Any], chance: Mapping[str, float]) -> Self:
        """What `as_record` wrote."""
        num_test, num_groups = int(flat.get("num_test", 0)), int(flat.get("num_groups", 0))
        names = ("top1", "top5", "mean_class")
        return cls(
            **_scores(flat, names, num_videos=num_test, num_groups=num_groups, chance=chance), num_test=num_test,
            num_groups=num_groups, splits=flat.get("splits", ()), seeds=flat.get("seeds", ()),
            details=Details.read(flat),
            runs=tuple(ClassifierRun.read(run) for run in flat.get("runs", ())), warnings=flat.get("warnings", ()),
        )  # fmt: skip


class _Retrieval(_Frozen):
    recall: dict[int, Score]
    """k -> R@k, for every k that the gallery is large enough for."""
    mean_ap: Score

    def named(self) -> dict[str, Score]:
        """Every score by its name, in the order of a table."""
        return {**{f"R@{k}": score for k, score in self.recall.items()}, "mAP": self.mean_ap}


class RetrievalRun(_Retrieval):
    """Retrieval on one split."""

    split: int
    num_query: int
    num_gallery: int
    num_groups: int = 0
    """Groups of the queries; 0: every video is one."""

    def as_record(self) -> dict[str, Any]:
        """Plain values for a record."""
        return {
            "split": self.split,
            "query": self.num_query,
            "gallery": self.num_gallery,
            **_groups(self.num_groups),
            **flat(self.named()),
        }

    @classmethod
    def read(cls, flat: Mapping[str, Any]) -> Self:
        """What `as_record` wrote."""
        num_query, num_groups = int(flat.get("query", 0)), int(flat.get("num_groups", 0))
        return cls(
            **_retrieval(flat, num_videos=num_query, num_groups=num_groups), num_groups=num_groups,
            split=flat.get("split", 1), num_query=num_query, num_gallery=flat.get("gallery", 0),
        )  # fmt: skip


class RetrievalScores(_Retrieval, VariantScores):
    """Scores of retrieval, and those of every split behind them."""

    main: ClassVar[str] = "R@1"
    runs: tuple[RetrievalRun, ...] = ()

    @property
    def first(self) -> Score:
        """R@1, or that of the smallest k which was asked for."""
        return next(iter(self.named().values()))

    def as_record(self) -> dict[str, Any]:
        """Plain values for a record, without chance, which all variants share."""
        return {**flat(self.named()), "splits": list(self.splits), "runs": [run.as_record() for run in self.runs]}

    @classmethod
    def read(cls, flat: Mapping[str, Any], chance: Mapping[str, float]) -> Self:
        """What `as_record` wrote."""
        runs = tuple(RetrievalRun.read(run) for run in flat.get("runs", ()))
        num_videos = sum(run.num_query for run in runs)
        num_groups = min((run.num_groups for run in runs), default=0)
        found = _retrieval(flat, num_videos=num_videos, num_groups=num_groups, chance=chance)
        return cls(**found, splits=flat.get("splits", ()), runs=runs)


class ProbeMetrics(_Frozen):
    """What probe found: a classifier on the features of every variant."""

    head: str = "linear"
    protocol: str = ""
    notes: tuple[str, ...] = ()
    """What a reader of the scores must know."""
    variants: dict[str, ClassifierScores]

    def as_record(self) -> dict[str, Any]:
        """Metrics of the record."""
        start = {"head": self.head, "protocol": self.protocol, "notes": list(self.notes)}
        return start | _with_chance(self.variants)

    @classmethod
    def read(cls, metrics: Mapping[str, Any]) -> Self | Skipped:
        """What `as_record` wrote, by this version or an earlier one."""
        return Skipped.read(metrics) or cls(
            head=metrics.get("head", "linear"), protocol=metrics.get("protocol", ""), notes=metrics.get("notes", ()),
            variants={name: ClassifierScores.read(flat, chance) for name, flat, chance in _variants(metrics)},
        )  # fmt: skip


class RetrievalMetrics(_Frozen):
    """What retrieve found: test videos that ask, train videos that answer, by the features of every variant."""

    protocol: str = ""
    notes: tuple[str, ...] = ()
    num_query: int = 0
    """Of the first split."""
    num_gallery: int = 0
    variants: dict[str, RetrievalScores]

    def as_record(self) -> dict[str, Any]:
        """Metrics of the record."""
        sizes = {"query": self.num_query, "gallery": self.num_gallery}
        beside = {"sizes": sizes, "notes": list(self.notes)}
        return {"protocol": self.protocol} | _with_chance(self.variants, beside=beside)

    @classmethod
    def read(cls, metrics: Mapping[str, Any]) -> Self | Skipped:
        """What `as_record` wrote, by this version or an earlier one."""
        sizes = metrics.get("sizes", {})
        return Skipped.read(metrics) or cls(
            protocol=metrics.get("protocol", ""), notes=metrics.get("notes", ()), num_query=sizes.get("query", 0),
            num_gallery=sizes.get("gallery", 0),
            variants={name: RetrievalScores.read(flat, chance) for name, flat, chance in _variants(metrics)},
        )  # fmt: skip


def _with_chance(variants: Mapping[str, VariantScores], *, beside: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The variants; after the first of them, where records have it, their chance and what stands beside it."""
    found: dict[str, Any] = {}
    for name, scores in variants.items():
        found[name] = scores.as_record()
        if "chance" not in found:
            found |= {"chance": scores.chance_record(), **(beside or {})}
    return found


def _variants(metrics: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any], Mapping[str, float]]]:
    chance = metrics.get("chance", {})
    for name, flat in metrics.items():
        if isinstance(flat, Mapping) and name not in ("chance", "sizes", RECORDED):
            yield name, flat, chance


def _groups(number: int) -> dict[str, int]:
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


def _scores(
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


def _retrieval(
    flat: Mapping[str, Any], *, num_videos: int, num_groups: int = 0, chance: Mapping[str, float] | None = None
) -> dict[str, Any]:
    ks = sorted(int(name[2:]) for name in flat if name.startswith("R@") and name[2:].isdigit())
    found = _scores(flat, [*(f"R@{k}" for k in ks), "mAP"], num_videos=num_videos, num_groups=num_groups, chance=chance)
    return {"recall": {k: found[f"R@{k}"] for k in ks}, "mean_ap": found["mAP"]}
