"""Probe and retrieval of every variant that was embedded, with chance beside: the tables of a run.

Both work on videos: a video's feature is the mean over all its clips (METHOD 1.8), so over its segments, too. A control
that repeats one frame of a video has one clip a video, whatever segments that was cut into.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mscl.array_types import Floats, Ints
from mscl.embedding.feature_files import read_variants, tokens_name
from mscl.embedding.variants import shown_of
from mscl.errors import DataError
from mscl.score.classifier_scores import ClassifierScores, ProbeMetrics
from mscl.score.config import ProbeConfig, RetrieveConfig
from mscl.score.groups import INDEPENDENT, Grouping
from mscl.score.intervals import mean_of_means_interval, num_groups
from mscl.score.labels import evaluable_splits, train_and_test
from mscl.score.probe_heads import Classify, classifier_of
from mscl.score.repeated_runs import Trial, confusion_over_runs, mean_over_runs
from mscl.score.retrieval import Retrieval, retrieve
from mscl.score.retrieval_scores import RetrievalMetrics, RetrievalRun, RetrievalScores
from mscl.score.scores import Score
from mscl.score.videos import Videos
from storage.json_files import write_json

if TYPE_CHECKING:
    from storage.manifest import Manifest

Manifests = Mapping[int, "Manifest"]
"""Official split -> usable rows; row i is row i of the features."""


def probe_variants(
    embed_folder: Path,
    output: Path,
    *,
    manifests: Manifests,
    config: ProbeConfig,
    grouping: Grouping = INDEPENDENT,
    notes: Sequence[str] = (),
    device: str = "cpu",
) -> ProbeMetrics:
    """Classifier on the features of every variant in `embed_folder`, on every split and with every seed.

    Writes `output/metrics.json`: the record's metrics with the confusion matrices. `device`: of `probe.head=attentive`.

    Raises:
        DataError: no features, features of other videos, or a dataset that cannot score them.
    """
    _check(manifests)
    classes = next(iter(manifests.values())).classes
    variants: dict[str, ClassifierScores] = {}
    confusions: dict[str, list[list[int]]] = {}
    for name, features_SD in _features(embed_folder, manifests).items():
        classify = classifier_of(
            config, features_SD, tokens=embed_folder / tokens_name(name), ids=_segment_ids(manifests), device=device
        )
        tested = [
            _probed(
                classify, split, Videos.of(manifest).as_shown(shown_of(name)), num_classes=len(classes),
                config=config.model_copy(update={"seed": seed}), grouping=grouping,
            )
            for split, manifest in manifests.items()
            for seed in config.all_seeds
        ]  # fmt: skip
        variants[name], confusions[name] = mean_over_runs(tested), confusion_over_runs(tested)
    metrics = ProbeMetrics(head=config.head, protocol=config.protocol, notes=tuple(notes), variants=variants)
    full = metrics.as_record()
    for name, scores in variants.items():
        confusion = {"chance": scores.chance_record(), "classes": list(classes), "confusion": confusions[name]}
        full[name] = full[name] | confusion
    start = {name: full.pop(name) for name in ("head", "protocol", "notes", "chance")}
    write_json(output / "metrics.json", start | full)
    return metrics


def retrieve_variants(
    embed_folder: Path,
    output: Path,
    *,
    manifests: Manifests,
    config: RetrieveConfig,
    grouping: Grouping = INDEPENDENT,
    notes: Sequence[str] = (),
) -> RetrievalMetrics:
    """Retrieval with every variant in `embed_folder`: query = test split, gallery = train split, on every split.

    Writes `output/metrics.json` and `output/neighbours.json` (per variant, of the first split: rows of the queries and
    of their nearest gallery videos, each the row of a video's first segment; similarities).

    Raises:
        DataError: no features, features of other videos, or a dataset that cannot score them.
    """
    _check(manifests)
    variants: dict[str, RetrievalScores] = {}
    neighbours: dict[str, Any] = {}
    more_notes: dict[str, None] = {}
    for name, features_SD in _features(embed_folder, manifests).items():
        found = [
            _Search.of(features_SD, split, Videos.of(manifest).as_shown(shown_of(name)), config, grouping)
            for split, manifest in manifests.items()
        ]
        variants[name] = _mean_over_splits(found)
        first = found[0]
        more_notes |= {note: None for one in found for note in one.result.notes}
        neighbours[name] = {
            "query_rows": first.videos.first_V[first.test].tolist(),
            "gallery_rows": first.videos.first_V[first.train[first.result.neighbours_QK]].tolist(),
            "similarity": np.round(first.result.similarity_QK.astype(np.float64), 5).tolist(),
        }
    metrics = RetrievalMetrics(
        protocol=config.protocol, notes=(*notes, *more_notes), num_query=len(first.test),
        num_gallery=len(first.train), variants=variants,
    )  # fmt: skip
    write_json(output / "metrics.json", metrics.as_record())
    write_json(output / "neighbours.json", neighbours)
    return metrics


@dataclass(frozen=True, eq=False)
class _Search:
    """Retrieval on one split."""

    split: int
    videos: Videos
    train: Ints
    test: Ints
    groups_Q: Ints | None
    """Group of each query; None: each is its own."""
    result: Retrieval

    @classmethod
    def of(
        cls, features_SD: Floats, split: int, videos: Videos, config: RetrieveConfig, grouping: Grouping
    ) -> "_Search":
        train, test = train_and_test(videos.split_V, videos.labels_V)
        features_VD = videos.mean(features_SD)
        query, gallery = features_VD[test], features_VD[train]
        groups_Q = grouping.numbers([videos.names[row] for row in test.tolist()])
        result = retrieve(
            query, videos.labels_V[test], gallery, videos.labels_V[train], ks=config.ks,
            neighbours=min(len(gallery), max(config.neighbours, *config.ks)), index=config.index,
            centre=config.centre, query_groups=groups_Q,
        )  # fmt: skip
        kept = replace(
            result,
            neighbours_QK=result.neighbours_QK[:, : config.neighbours],
            similarity_QK=result.similarity_QK[:, : config.neighbours],
        )
        return cls(split, videos, train, test, groups_Q, kept)

    @property
    def num_groups(self) -> int:
        """Groups of the queries; 0: each is its own."""
        return 0 if self.groups_Q is None else num_groups(len(self.test), self.groups_Q)

    def as_run(self) -> RetrievalRun:
        """Its scores alone."""
        found, num = self.result, len(self.test)
        size = {"num_videos": num, "num_groups": self.num_groups}
        recall = {
            k: Score(value=value, interval=found.recall_interval[k], chance=found.recall_chance[k], **size)
            for k, value in found.recall.items()
        }
        mean_ap = Score(value=found.mean_ap, interval=found.mean_ap_interval, chance=found.mean_ap_chance, **size)
        return RetrievalRun(
            num_groups=self.num_groups,
            split=self.split,
            num_query=num,
            num_gallery=len(self.train),
            recall=recall,
            mean_ap=mean_ap,
        )

    def precision(self) -> npt.NDArray[np.float64]:
        """Average precision of the queries whose label the gallery has."""
        return self.result.precision_Q[self.has_label]

    @property
    def has_label(self) -> npt.NDArray[np.bool_]:
        """Whether the gallery has a query's label."""
        return np.isfinite(self.result.precision_Q)


def _mean_over_splits(found: Sequence[_Search]) -> RetrievalScores:
    """Means over the splits; in the intervals the groups of queries of each split vary on their own."""
    runs = tuple(one.as_run() for one in found)
    splits = tuple(one.split for one in found)
    if len(runs) == 1:
        return RetrievalScores(recall=runs[0].recall, mean_ap=runs[0].mean_ap, splits=splits, runs=runs)
    ks = [k for k in runs[0].recall if all(k in run.recall for run in runs)]
    num_videos, fewest_groups = sum(run.num_query for run in runs), min(run.num_groups for run in runs)
    groups = [one.groups_Q for one in found]

    def mean(
        scores: Sequence[Score], values: Sequence[npt.NDArray[Any]], groups: Sequence[Ints | None], *, spread: bool
    ) -> Score:
        return Score(
            value=float(np.mean([group.mean() for group in values])),
            interval=mean_of_means_interval(values, groups),
            chance=float(np.mean([score.chance for score in scores])),
            std_splits=float(np.std([score.value for score in scores], ddof=1)) if spread else None,
            num_videos=num_videos,
            num_groups=fewest_groups,
        )

    recall = {
        k: mean(
            [run.recall[k] for run in runs], [one.result.hit_QK[:, k - 1] for one in found], groups, spread=k == ks[0]
        )
        for k in ks
    }
    of_known = [None if one.groups_Q is None else one.groups_Q[one.has_label] for one in found]
    mean_ap = mean([run.mean_ap for run in runs], [one.precision() for one in found], of_known, spread=True)
    return RetrievalScores(recall=recall, mean_ap=mean_ap, splits=splits, runs=runs)


def _probed(
    classify: Classify, split: int, videos: Videos, *, num_classes: int, config: ProbeConfig, grouping: Grouping
) -> Trial:
    train, test = train_and_test(videos.split_V, videos.labels_V)
    probe = classify(videos, train, test, num_classes=num_classes, config=config, grouping=grouping)
    return Trial(split, config.seed, probe.scores, probe.details, probe.warnings)


def _check(manifests: Manifests) -> None:
    if reason := evaluable_splits(manifests):
        raise DataError(f"{reason}; check the dataset's lists")


def _features(embed_folder: Path, manifests: Manifests) -> dict[str, Floats]:
    """Variant -> features, row for row those of the manifest."""
    ids = _segment_ids(manifests)
    found = read_variants(embed_folder)
    for name, features in found.items():
        if features.ids != ids:
            raise DataError(
                f"the features {name} in {embed_folder} are of {len(features.ids)} other segments than the "
                f"{len(ids)} of the manifest; embed this dataset again"
            )
    return {name: features.features_ND for name, features in found.items()}


def _segment_ids(manifests: Manifests) -> list[str]:
    return [str(name) for name in next(iter(manifests.values())).column("segment_id")]
