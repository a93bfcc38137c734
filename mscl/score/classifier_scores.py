"""Scores of classifiers, of every run behind them, and of a whole probe."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

from mscl.score.scores import Frozen, Score, VariantScores, flat, groups_record, read_scores, variants_of, with_chance
from mscl.stage.skipped import Skipped

HEADS = {"linear": "Linear probe", "knn": "k nearest neighbours", "attentive": "Attentive probe"}
"""Classifiers on frozen features, as tables and pictures call them."""
TITLES = {"top1": "top-1", "top5": "top-5", "mean_class": "class mean"}
"""Scores whose names are no words, as tables call them."""


class Details(Frozen):
    """How a classifier was made; None: what its kind does not have, or a mean over several."""

    l2: float | None = None
    """`linear`: regularisation 1/C, chosen by cross-validation on the train split where there are `folds`."""
    folds: int | None = None
    """`linear`: of that cross-validation; 0 where the classes were too small for any, or one strength was given."""
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


class _Classifier(Frozen):
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
            **groups_record(self.num_groups), **self.details.as_record(), "warnings": list(self.warnings),
        }  # fmt: skip

    @classmethod
    def read(cls, flat: Mapping[str, Any]) -> Self:
        """What `as_record` wrote."""
        num_test = int(flat.get("num_test", 0))
        num_groups = int(flat.get("num_groups", 0))
        scores = read_scores(flat, ("top1", "top5", "mean_class"), num_videos=num_test, num_groups=num_groups)
        return cls(
            **scores, num_test=num_test, num_groups=num_groups, split=flat.get("split", 1), seed=flat.get("seed", 0),
            details=Details.read(flat), warnings=flat.get("warnings", ()),
        )  # fmt: skip


class ClassifierScores(_Classifier, VariantScores):
    """Scores of a classifier, and every run behind them."""

    runs: tuple[ClassifierRun, ...] = ()

    @property
    def first_title(self) -> str:
        """What tables call the first score."""
        return TITLES[self.first_name]

    def chance_record(self) -> dict[str, float]:
        """Chance by the largest class, which top-1 is compared with, and by guessing one at random."""
        uniform = self.mean_class.chance if self.mean_class is not None else None
        chance = {"top1": self.top1.chance, "uniform": uniform, "mean_class": uniform}
        return {name: value for name, value in chance.items() if value is not None}

    def as_record(self) -> dict[str, Any]:
        """Plain values for a record, without chance, which all variants share."""
        return {
            **flat(self.named()), "num_test": self.num_test, **groups_record(self.num_groups),
            "splits": list(self.splits), "seeds": list(self.seeds),
            "runs": [run.as_record() for run in self.runs], **self.details.as_record(), "warnings": list(self.warnings),
        }  # fmt: skip

    @classmethod
    def read(cls, flat: Mapping[str, Any], chance: Mapping[str, float]) -> Self:
        """What `as_record` wrote."""
        num_test, num_groups = int(flat.get("num_test", 0)), int(flat.get("num_groups", 0))
        names = ("top1", "top5", "mean_class")
        return cls(
            **read_scores(flat, names, num_videos=num_test, num_groups=num_groups, chance=chance), num_test=num_test,
            num_groups=num_groups, splits=flat.get("splits", ()), seeds=flat.get("seeds", ()),
            details=Details.read(flat),
            runs=tuple(ClassifierRun.read(run) for run in flat.get("runs", ())), warnings=flat.get("warnings", ()),
        )  # fmt: skip


class ProbeMetrics(Frozen):
    """What probe found: a classifier on the features of every variant."""

    head: str = "linear"
    protocol: str = ""
    notes: tuple[str, ...] = ()
    """What a reader of the scores must know."""
    variants: dict[str, ClassifierScores]

    def as_record(self) -> dict[str, Any]:
        """Metrics of the record."""
        start = {"head": self.head, "protocol": self.protocol, "notes": list(self.notes)}
        return start | with_chance(self.variants)

    @classmethod
    def read(cls, metrics: Mapping[str, Any]) -> Self | Skipped:
        """What `as_record` wrote, by this version or an earlier one."""
        return Skipped.read(metrics) or cls(
            head=metrics.get("head", "linear"), protocol=metrics.get("protocol", ""), notes=metrics.get("notes", ()),
            variants={name: ClassifierScores.read(flat, chance) for name, flat, chance in variants_of(metrics)},
        )  # fmt: skip
