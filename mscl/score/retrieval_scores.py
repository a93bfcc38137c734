"""Scores of retrieval, of every split behind them, and of the whole stage."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

from mscl.score.scores import Frozen, Score, VariantScores, flat, groups_record, read_scores, variants_of, with_chance
from mscl.stage.skipped import Skipped


class _Retrieval(Frozen):
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
            **groups_record(self.num_groups),
            **flat(self.named()),
        }

    @classmethod
    def read(cls, flat: Mapping[str, Any]) -> Self:
        """What `as_record` wrote."""
        num_query, num_groups = int(flat.get("query", 0)), int(flat.get("num_groups", 0))
        return cls(
            **_read_retrieval(flat, num_videos=num_query, num_groups=num_groups), num_groups=num_groups,
            split=flat.get("split", 1), num_query=num_query, num_gallery=flat.get("gallery", 0),
        )  # fmt: skip


class RetrievalScores(_Retrieval, VariantScores):
    """Scores of retrieval, and those of every split behind them."""

    runs: tuple[RetrievalRun, ...] = ()

    def as_record(self) -> dict[str, Any]:
        """Plain values for a record, without chance, which all variants share."""
        return {**flat(self.named()), "splits": list(self.splits), "runs": [run.as_record() for run in self.runs]}

    @classmethod
    def read(cls, flat: Mapping[str, Any], chance: Mapping[str, float]) -> Self:
        """What `as_record` wrote."""
        runs = tuple(RetrievalRun.read(run) for run in flat.get("runs", ()))
        num_videos = sum(run.num_query for run in runs)
        num_groups = min((run.num_groups for run in runs), default=0)
        found = _read_retrieval(flat, num_videos=num_videos, num_groups=num_groups, chance=chance)
        return cls(**found, splits=flat.get("splits", ()), runs=runs)


class RetrievalMetrics(Frozen):
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
        return {"protocol": self.protocol} | with_chance(self.variants, beside=beside)

    @classmethod
    def read(cls, metrics: Mapping[str, Any]) -> Self | Skipped:
        """What `as_record` wrote, by this version or an earlier one."""
        sizes = metrics.get("sizes", {})
        return Skipped.read(metrics) or cls(
            protocol=metrics.get("protocol", ""), notes=metrics.get("notes", ()), num_query=sizes.get("query", 0),
            num_gallery=sizes.get("gallery", 0),
            variants={name: RetrievalScores.read(flat, chance) for name, flat, chance in variants_of(metrics)},
        )  # fmt: skip


def _read_retrieval(
    flat: Mapping[str, Any], *, num_videos: int, num_groups: int = 0, chance: Mapping[str, float] | None = None
) -> dict[str, Any]:
    ks = sorted(int(name[2:]) for name in flat if name.startswith("R@") and name[2:].isdigit())
    found = read_scores(
        flat, [*(f"R@{k}" for k in ks), "mAP"], num_videos=num_videos, num_groups=num_groups, chance=chance
    )
    return {"recall": {k: found[f"R@{k}"] for k in ks}, "mean_ap": found["mAP"]}
