"""Scores over several runs of one protocol: official splits and seeds, their mean and spread."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mscl.score.classification import Classification
from mscl.score.classifier_scores import ClassifierRun, ClassifierScores, Details
from mscl.score.intervals import class_mean_interval, mean_of_means_interval
from mscl.score.scores import Score


@dataclass(frozen=True)
class Trial:
    """One classifier, trained and tested once."""

    split: int
    seed: int
    scores: Classification
    details: Details = field(default_factory=Details)
    warnings: tuple[str, ...] = ()

    def as_run(self) -> ClassifierRun:
        """Its scores alone."""
        return ClassifierRun(
            split=self.split, seed=self.seed, **self.scores.scores(), num_test=self.scores.num_test,
            num_groups=self.scores.num_groups, details=self.details, warnings=self.warnings,
        )  # fmt: skip


def mean_over_runs(tested: Sequence[Trial]) -> ClassifierScores:
    """Mean of the scores over seeds, then over splits; `runs` holds every one.

    Intervals let the groups of test videos vary, those of each split on their own; a video's score is its mean over the
    seeds, so an interval says how far another test set would move the mean, not how far another seed would. That is
    said by the standard deviations (n - 1) of the means over seeds and over splits.

    Raises:
        ValueError: no runs, or a split without one of the seeds.
    """
    splits = sorted({one.split for one in tested})
    seeds = sorted({one.seed for one in tested})
    of = {(one.split, one.seed): one.scores for one in tested}
    if not tested or len(of) != len(tested) or len(of) != len(splits) * len(seeds):
        raise ValueError(f"{len(tested)} runs are not one for each of the splits {splits} and seeds {seeds}")
    common: dict[str, Any] = {
        "splits": splits,
        "seeds": seeds,
        "runs": [one.as_run() for one in tested],
        "warnings": list(dict.fromkeys(warning for one in tested for warning in one.warnings)),
    }
    if len(tested) == 1:
        only = tested[0]
        size = {"num_test": only.scores.num_test, "num_groups": only.scores.num_groups}
        return ClassifierScores(**only.scores.scores(), **size, details=only.details, **common)
    hits = [np.mean([of[split, seed].right_N for seed in seeds], axis=0) for split in splits]
    labels = [of[split, seeds[0]].labels_N for split in splits]
    groups = [of[split, seeds[0]].groups_N for split in splits]
    num_test = sum(len(hit) for hit in hits)
    num_groups = min(of[split, seeds[0]].num_groups for split in splits)
    size = {"num_videos": num_test, "num_groups": num_groups}

    def by_split(score: str) -> list[float]:
        return [float(np.mean([getattr(of[split, seed], score) for seed in seeds])) for split in splits]

    def by_seed(score: str) -> list[float]:
        return [float(np.mean([getattr(of[split, seed], score) for split in splits])) for seed in seeds]

    def chance(score: str) -> float:
        return float(np.mean([getattr(of[split, seeds[0]], score) for split in splits]))

    top1 = Score(
        value=float(np.mean(by_split("top1"))), interval=mean_of_means_interval(hits, groups),
        chance=chance("chance_largest"), **size, std_splits=_deviation(by_split("top1")),
        std_seeds=_deviation(by_seed("top1")),
    )  # fmt: skip
    scores = {
        "top1": top1,
        "mean_class": Score(
            value=float(np.mean(by_split("mean_class"))), interval=class_mean_interval(hits, labels, groups),
            chance=chance("chance_uniform"), **size,
        ),
    }  # fmt: skip
    if all(one.scores.top5 is not None for one in tested):
        scores["top5"] = Score(value=float(np.mean(by_split("top5"))), **size)
    return ClassifierScores(**scores, num_test=num_test, num_groups=num_groups, **common)


def confusion_over_runs(tested: Sequence[Trial]) -> list[list[int]]:
    """Sum of the confusion matrices: rows true class, columns called."""
    summed: list[list[int]] = np.sum([one.scores.confusion_CC for one in tested], axis=0).tolist()
    return summed


def _deviation(means: Sequence[float]) -> float | None:
    return float(np.std(means, ddof=1)) if len(means) > 1 else None
