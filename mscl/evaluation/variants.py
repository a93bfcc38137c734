"""Probe and retrieval of every variant that was embedded, with chance beside: the tables of a run."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mscl.config import ProbeConfig, RetrieveConfig
from mscl.errors import DataError
from mscl.evaluation.classification import classification_report
from mscl.evaluation.features import read_variants
from mscl.evaluation.files import write_json
from mscl.evaluation.labels import train_and_test, unfit
from mscl.evaluation.probe import linear_probe
from mscl.evaluation.retrieval import Retrieval, retrieve

if TYPE_CHECKING:
    from storage.features import Features


def probe_variants(embed_folder: Path, output: Path, *, classes: Sequence[str], config: ProbeConfig) -> dict[str, Any]:
    """Linear probe of every variant in `embed_folder`.

    Writes `output/metrics.json`, with the confusion matrices; returns the same without them.

    Raises:
        DataError: no features, or a dataset that cannot score them.
    """
    metrics: dict[str, Any] = {}
    full: dict[str, Any] = {}
    for name, features in read_variants(embed_folder).items():
        train, test, labels = _rows(features)
        probe = linear_probe(
            features.features_ND[train],
            labels[train],
            features.features_ND[test],
            labels[test],
            num_classes=len(classes),
            config=config,
        )
        metrics[name] = probe.as_metrics()
        full[name] = classification_report(probe.scores, classes, extra=probe.as_metrics())
        metrics["chance"] = full["chance"] = probe.scores.chance()
    write_json(output / "metrics.json", full)
    return metrics


def retrieve_variants(embed_folder: Path, output: Path, *, config: RetrieveConfig, seed: int = 0) -> dict[str, Any]:
    """Retrieval with every variant in `embed_folder`: query = test split, gallery = train split.

    Writes `output/metrics.json` and `output/neighbours.json` (per variant: query and gallery ids, gallery
    positions of the neighbours, similarities).

    Raises:
        DataError: no features, or a dataset that cannot score them.
    """
    metrics: dict[str, Any] = {}
    neighbours: dict[str, Any] = {}
    for name, features in read_variants(embed_folder).items():
        train, test, labels = _rows(features)
        result = retrieve(
            features.features_ND[test],
            labels[test],
            features.features_ND[train],
            labels[train],
            ks=config.ks,
            neighbours=config.neighbours,
            seed=seed,
        )
        metrics[name] = _scores(result)
        metrics["chance"] = {f"R@{k}": share for k, share in result.recall_chance.items()}
        metrics["chance"] |= {"mAP": result.mean_ap_chance}
        metrics["sizes"] = {"query": len(test), "gallery": len(train)}
        metrics["notes"] = list(result.notes)
        neighbours[name] = {
            "query_rows": test.tolist(),
            "gallery_rows": train[result.neighbours_QK].tolist(),
            "similarity": np.round(result.similarity_QK.astype(np.float64), 5).tolist(),
        }
    write_json(output / "metrics.json", metrics)
    write_json(output / "neighbours.json", neighbours)
    return metrics


def _scores(result: Retrieval) -> dict[str, Any]:
    scores: dict[str, Any] = {}
    for k, recall in result.recall.items():
        scores[f"R@{k}"] = recall
        scores[f"R@{k}_interval"] = list(result.recall_interval[k])
    return scores | {"mAP": result.mean_ap, "mAP_interval": list(result.mean_ap_interval)}


def _rows(features: "Features") -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    labels = np.asarray(features.labels_N, dtype=np.int64)
    split = list(features.split)
    if reason := unfit(split, labels):
        raise DataError(f"{reason}; check the dataset's lists")
    train, test = train_and_test(split, labels)
    return train, test, labels
