"""Scores over several runs of one protocol: official splits and seeds, their mean and spread."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mscl.score.classification import Classification, mean_class_accuracy
from mscl.score.intervals import bootstrap_mean_of_means, bootstrap_statistic


@dataclass(frozen=True)
class Run:
    """One classifier, trained and tested once."""

    split: int
    seed: int
    scores: Classification
    details: dict[str, Any] = field(default_factory=dict)
    """What else is to be known of it, as plain values."""

    def as_metrics(self) -> dict[str, Any]:
        """Plain values for a record."""
        return {"split": self.split, "seed": self.seed, **self.scores.as_metrics(), **self.details}


def mean_over_runs(runs: Sequence[Run], *, seed: int = 0) -> dict[str, Any]:
    """Mean of the scores over seeds, then over splits, as plain values for a record; `runs` holds every one.

    Intervals resample test videos, those of each split on their own; a video's score is its mean over the seeds, so an
    interval says how far another test set would move the mean, not how far another seed would. That is said by
    `top1_std_seeds`, and by `top1_std_splits` for splits: standard deviations (n - 1) of the means.

    Raises:
        ValueError: no runs, or a split without one of the seeds.
    """
    splits = sorted({run.split for run in runs})
    seeds = sorted({run.seed for run in runs})
    of = {(run.split, run.seed): run for run in runs}
    if not runs or len(of) != len(runs) or len(of) != len(splits) * len(seeds):
        raise ValueError(f"{len(runs)} runs are not one for each of the splits {splits} and seeds {seeds}")
    if len(runs) == 1:
        return runs[0].scores.as_metrics() | {"splits": splits, "seeds": seeds, "runs": [runs[0].as_metrics()]}
    hits = [np.mean([of[split, seed].scores.right_N for seed in seeds], axis=0) for split in splits]
    labels = [of[split, seeds[0]].scores.labels_N for split in splits]

    def mean_class(*drawn: np.ndarray[Any, Any]) -> float:
        parts = zip(hits, labels, drawn, strict=True)
        return float(np.mean([mean_class_accuracy(hit[rows], label[rows]) for hit, label, rows in parts]))

    def over(numbers: Sequence[int], which: str, score: str) -> list[float]:
        """Mean of a score over the runs of each split, or of each seed."""
        return [
            float(np.mean([getattr(run.scores, score) for run in runs if getattr(run, which) == number]))
            for number in numbers
        ]

    metrics: dict[str, Any] = {
        "top1": float(np.mean(over(splits, "split", "top1"))),
        "top1_interval": list(bootstrap_mean_of_means(hits, seed=seed)),
    }
    if all(run.scores.top5 is not None for run in runs):
        metrics["top5"] = float(np.mean(over(splits, "split", "top5")))
    metrics["mean_class"] = float(np.mean(over(splits, "split", "mean_class")))
    metrics["mean_class_interval"] = list(
        bootstrap_statistic(mean_class, *(len(hit) for hit in hits), seed=seed, resamples=1000)
    )
    for which, numbers in (("split", splits), ("seed", seeds)):
        if len(numbers) > 1:
            metrics[f"top1_std_{which}s"] = float(np.std(over(numbers, which, "top1"), ddof=1))
    metrics["num_test"] = sum(len(hit) for hit in hits)
    return metrics | {"splits": splits, "seeds": seeds, "runs": [run.as_metrics() for run in runs]}


def chance_over_runs(runs: Sequence[Run]) -> dict[str, float]:
    """Mean over the splits of what a classifier that has not looked would score."""
    first_of = {run.split: run.scores.chance() for run in runs}
    return {
        name: float(np.mean([found[name] for found in first_of.values()])) for name in next(iter(first_of.values()))
    }


def confusion_over_runs(runs: Sequence[Run]) -> list[list[int]]:
    """Sum of the confusion matrices: rows true class, columns called."""
    summed: list[list[int]] = np.sum([run.scores.confusion_CC for run in runs], axis=0).tolist()
    return summed
