"""What a scored run says: its encoder, the untrained one and the controls, by classes and by superclasses."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mscl.ablation.rows import LINEAR, RETRIEVAL, SHUFFLED_SUFFIX, STILL_SUFFIXES
from mscl.errors import DataError
from mscl.score.classifier_scores import ProbeMetrics
from mscl.score.retrieval_scores import RetrievalMetrics
from mscl.score.superclasses import RECORDED, Superclasses
from mscl.stage.skipped import Skipped
from storage.json_files import read_json

TRAINED = "trained"
_CONTROLS = {f"{TRAINED}{suffix}": suffix for suffix in ("", *STILL_SUFFIXES, SHUFFLED_SUFFIX)}


@dataclass(frozen=True)
class RunScores:
    """Scores of one run by one set of labels."""

    set: str
    of_run: dict[str, float]
    """Metric, those of the controls by their names -> share of the test videos."""
    of_random: dict[str, float]
    """The same of the encoder before training; empty where controls were not asked for."""
    facts: dict[str, Any]
    """What guessing scores, and numbers of videos."""


def superclass_set(name: str) -> str:
    """What a dataset is called where its superclasses are the labels."""
    return f"{name}-superclasses"


def scores_of(metrics: Mapping[str, Mapping[str, Any]], *, name: str) -> list[RunScores]:
    """Scores by the classes and, where there are superclasses, by those.

    Args:
        metrics: of the records of `probe` and `retrieve`.
        name: of the dataset.

    Raises:
        DataError: nothing was scored.
    """
    found = [_scores(metrics["probe"], metrics["retrieve"], name)]
    if all(RECORDED in metrics[stage] for stage in ("probe", "retrieve")):
        found.append(_scores(metrics["probe"][RECORDED], metrics["retrieve"][RECORDED], superclass_set(name)))
    return found


def superclass_top1(finetune_folder: Path, superclasses: Superclasses) -> float:
    """Share of the test videos that a fine-tuned classifier of classes puts into the right superclass."""
    found = read_json(finetune_folder / "metrics.json")
    of_class = {one: name for name, classes in superclasses.items() for one in classes}
    names = [of_class[one] for one in found["classes"]]
    counts = [
        (count, true == called)
        for true, line in zip(names, found["confusion"], strict=True)
        for called, count in zip(names, line, strict=True)
    ]
    return float(sum(count for count, right in counts if right) / sum(count for count, _ in counts))


def _scores(probe_record: Mapping[str, Any], retrieve_record: Mapping[str, Any], name: str) -> RunScores:
    probe, retrieve = ProbeMetrics.read(probe_record), RetrievalMetrics.read(retrieve_record)
    for metrics in (probe, retrieve):
        if isinstance(metrics, Skipped):
            raise DataError(f"{name}: nothing to score: {metrics.reason}")
    assert isinstance(probe, ProbeMetrics) and isinstance(retrieve, RetrievalMetrics)
    of_run: dict[str, float] = {}
    for variant, suffix in _CONTROLS.items():
        if variant in probe.variants and variant in retrieve.variants:
            of_run[RETRIEVAL + suffix] = retrieve.variants[variant].first.value
            of_run[LINEAR + suffix] = probe.variants[variant].top1.value
    of_random = {}
    if "untrained" in probe.variants and "untrained" in retrieve.variants:
        of_random = {
            RETRIEVAL: retrieve.variants["untrained"].first.value,
            LINEAR: probe.variants["untrained"].top1.value,
        }
    chance = {
        RETRIEVAL: retrieve.variants[TRAINED].first.chance,
        LINEAR: probe.variants[TRAINED].top1.chance,
    }
    facts = {"chance": chance, "test_videos": retrieve.num_query, "train_videos": retrieve.num_gallery}
    return RunScores(name, of_run, of_random, facts)
