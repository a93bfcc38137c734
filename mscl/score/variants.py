"""Probe and retrieval of every variant that was embedded, with chance beside: the tables of a run.

Both work on videos: a video's feature is the mean over all its clips (METHOD 1.8), so over its segments, too.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mscl.embedding.features import read_variants
from mscl.errors import DataError
from mscl.score.config import ProbeConfig, RetrieveConfig
from mscl.score.intervals import bootstrap_mean_of_means
from mscl.score.labels import evaluable_splits, train_and_test
from mscl.score.probe import knn_probe, linear_probe
from mscl.score.repeated_runs import Run, chance_over_runs, confusion_over_runs, mean_over_runs
from mscl.score.retrieval import Retrieval, average_precision, prepare, retrieve
from mscl.score.videos import Videos
from storage.json_files import write_json

if TYPE_CHECKING:
    from storage.manifest import Manifest

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]
Manifests = Mapping[int, "Manifest"]
"""Official split -> usable rows; row i is row i of the features."""


def probe_variants(
    embed_folder: Path, output: Path, *, manifests: Manifests, config: ProbeConfig, notes: Sequence[str] = ()
) -> dict[str, Any]:
    """Classifier on the features of every variant in `embed_folder`, on every split and with every seed.

    Writes `output/metrics.json`, with the confusion matrices; returns the same without them.

    Raises:
        DataError: no features, features of other videos, or a dataset that cannot score them.
    """
    _check(manifests)
    classes = next(iter(manifests.values())).classes
    metrics: dict[str, Any] = {"head": config.head, "protocol": config.protocol, "notes": list(notes)}
    full: dict[str, Any] = dict(metrics)
    for name, features_SD in _features(embed_folder, manifests).items():
        runs = [
            _probed(features_SD, split, manifest, config=config.model_copy(update={"seed": seed}))
            for split, manifest in manifests.items()
            for seed in config.all_seeds
        ]
        scores = mean_over_runs(runs, seed=config.seed)
        warnings = {warning: None for run in runs for warning in run.details["warnings"]}
        metrics[name] = scores | ({**runs[0].details} if len(runs) == 1 else {}) | {"warnings": list(warnings)}
        metrics["chance"] = full["chance"] = chance_over_runs(runs)
        full[name] = metrics[name] | {
            "chance": metrics["chance"], "classes": list(classes), "confusion": confusion_over_runs(runs),
        }  # fmt: skip
    write_json(output / "metrics.json", full)
    return metrics


def retrieve_variants(
    embed_folder: Path,
    output: Path,
    *,
    manifests: Manifests,
    config: RetrieveConfig,
    notes: Sequence[str] = (),
    seed: int = 0,
) -> dict[str, Any]:
    """Retrieval with every variant in `embed_folder`: query = test split, gallery = train split, on every split.

    Writes `output/metrics.json` and `output/neighbours.json` (per variant, of the first split: rows of the queries and
    of their nearest gallery videos, each the row of a video's first segment; similarities).

    Raises:
        DataError: no features, features of other videos, or a dataset that cannot score them.
    """
    _check(manifests)
    metrics: dict[str, Any] = {"protocol": config.protocol}
    neighbours: dict[str, Any] = {}
    for name, features_SD in _features(embed_folder, manifests).items():
        found = [_Search.of(features_SD, split, manifest, config, seed) for split, manifest in manifests.items()]
        metrics[name], metrics["chance"] = _mean_over_splits(found, seed=seed)
        first = found[0]
        metrics["sizes"] = {"query": len(first.test), "gallery": len(first.train)}
        metrics["notes"] = [*notes, *dict.fromkeys(note for one in found for note in one.result.notes)]
        neighbours[name] = {
            "query_rows": first.videos.first_V[first.test].tolist(),
            "gallery_rows": first.videos.first_V[first.train[first.result.neighbours_QK]].tolist(),
            "similarity": np.round(first.result.similarity_QK.astype(np.float64), 5).tolist(),
        }
    write_json(output / "metrics.json", metrics)
    write_json(output / "neighbours.json", neighbours)
    return metrics


@dataclass(frozen=True, eq=False)
class _Search:
    """Retrieval on one split."""

    split: int
    videos: Videos
    train: Ints
    test: Ints
    query_QD: Floats
    gallery_GD: Floats
    hit_QK: npt.NDArray[np.bool_]
    """Whether one of the first 1, 2, ... neighbours has the query's label."""
    result: Retrieval

    @classmethod
    def of(cls, features_SD: Floats, split: int, manifest: "Manifest", config: RetrieveConfig, seed: int) -> "_Search":
        videos = Videos.of(manifest)
        train, test = train_and_test(videos.split_V, videos.labels_V)
        features_VD = videos.mean(features_SD)
        query, gallery = features_VD[test], features_VD[train]
        result = retrieve(
            query, videos.labels_V[test], gallery, videos.labels_V[train], ks=config.ks,
            neighbours=min(len(gallery), max(config.neighbours, *config.ks)), index=config.index, seed=seed,
        )  # fmt: skip
        same_QK = videos.labels_V[train][result.neighbours_QK] == videos.labels_V[test][:, None]
        kept = replace(
            result,
            neighbours_QK=result.neighbours_QK[:, : config.neighbours],
            similarity_QK=result.similarity_QK[:, : config.neighbours],
        )
        return cls(split, videos, train, test, query, gallery, np.logical_or.accumulate(same_QK, axis=1), kept)

    def as_metrics(self) -> dict[str, Any]:
        """Plain values for a record."""
        scores: dict[str, Any] = {"split": self.split, "query": len(self.test), "gallery": len(self.train)}
        for k, recall in self.result.recall.items():
            scores |= {f"R@{k}": recall, f"R@{k}_interval": list(self.result.recall_interval[k])}
        return scores | {"mAP": self.result.mean_ap, "mAP_interval": list(self.result.mean_ap_interval)}

    def precision(self) -> npt.NDArray[np.float64]:
        """Average precision of the queries whose label the gallery has."""
        labels = self.videos.labels_V
        found = average_precision(
            prepare(self.query_QD), labels[self.test], prepare(self.gallery_GD), labels[self.train]
        )  # fmt: skip
        return found[np.isfinite(found)]


def _mean_over_splits(found: Sequence[_Search], *, seed: int) -> tuple[dict[str, Any], dict[str, float]]:
    """Scores and their chance, means over the splits; intervals resample the queries of each split on their own."""
    ks = [k for k in found[0].result.recall if all(k in one.result.recall for one in found)]
    chance = {f"R@{k}": float(np.mean([one.result.recall_chance[k] for one in found])) for k in ks}
    chance["mAP"] = float(np.mean([one.result.mean_ap_chance for one in found]))
    scores: dict[str, Any] = {}
    runs = [one.as_metrics() for one in found]
    if len(found) == 1:
        scores = {name: value for name, value in runs[0].items() if name not in ("split", "query", "gallery")}
    else:
        hits = {f"R@{k}": [one.hit_QK[:, k - 1] for one in found] for k in ks}
        for name, groups in (hits | {"mAP": [one.precision() for one in found]}).items():
            scores[name] = float(np.mean([group.mean() for group in groups]))
            scores[f"{name}_interval"] = list(bootstrap_mean_of_means(groups, seed=seed))
        for name in (f"R@{ks[0]}", "mAP"):
            scores[f"{name}_std_splits"] = float(np.std([run[name] for run in runs], ddof=1))
    return scores | {"splits": [one.split for one in found], "runs": runs}, chance


def _probed(features_SD: Floats, split: int, manifest: "Manifest", *, config: ProbeConfig) -> Run:
    videos = Videos.of(manifest)
    train, test = train_and_test(videos.split_V, videos.labels_V)
    features_VD = videos.mean(features_SD)
    fit = linear_probe if config.head == "linear" else knn_probe
    probe = fit(
        features_VD[train], videos.labels_V[train], features_VD[test], videos.labels_V[test],
        num_classes=len(manifest.classes), config=config,
    )  # fmt: skip
    return Run(split, config.seed, probe.scores, probe.details | {"warnings": list(probe.warnings)})


def _check(manifests: Manifests) -> None:
    if reason := evaluable_splits(manifests):
        raise DataError(f"{reason}; check the dataset's lists")


def _features(embed_folder: Path, manifests: Manifests) -> dict[str, Floats]:
    """Variant -> features, row for row those of the manifest."""
    ids = [str(name) for name in next(iter(manifests.values())).column("segment_id")]
    found = read_variants(embed_folder)
    for name, features in found.items():
        if features.ids != ids:
            raise DataError(
                f"the features {name} in {embed_folder} are of {len(features.ids)} other segments than the "
                f"{len(ids)} of the manifest; embed this dataset again"
            )
    return {name: features.features_ND for name, features in found.items()}
