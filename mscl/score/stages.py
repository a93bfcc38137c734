"""Stages probe and retrieve: features -> accuracy of a classifier on them, and nearest neighbours with R@k."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mscl.config import ExperimentConfig
from mscl.devices import device_of, gpus_to_use
from mscl.display.blocks import Block
from mscl.errors import ConfigError
from mscl.score.groups import group_settings
from mscl.score.preflight import check_test_videos
from mscl.score.scored_splits import ScoredSplits, split_settings
from mscl.score.superclasses import with_superclasses
from mscl.stage.contract import Stage, StageRun
from mscl.stage.skipped import Skipped
from mscl.stage.view import Stages

if TYPE_CHECKING:
    from mscl.score.classifier_scores import ProbeMetrics
    from mscl.score.retrieval_scores import RetrievalMetrics
    from storage.manifest import Manifest
    from storage.result_folder import Result


def _probe_settings(config: ExperimentConfig) -> dict[str, Any]:
    settings = {"probe": config.probe.key_values(), **split_settings(config, config.probe.splits)}
    return settings | group_settings(config)


def _probe(run: StageRun) -> dict[str, Any]:
    from mscl.score.probe_and_retrieve import probe_variants

    config, runtime = run.config.probe, run.config.runtime
    device = device_of(0, gpus_to_use(runtime.device, runtime.gpus)) if config.head == "attentive" else "cpu"
    scored = ScoredSplits.of(run, config.splits)
    if scored.reason:
        return scored.skipped(run, "probe").as_record()
    notes = scored.say_notes(run)

    def score(manifests: Mapping[int, Manifest], folder: Path) -> dict[str, Any]:
        return probe_variants(
            run.input("embed"), folder, manifests=manifests, config=config, grouping=scored.grouping, notes=notes,
            device=device,
        ).as_record()  # fmt: skip

    return with_superclasses(scored.manifests, config.superclasses, score, run.folder)


def _probe_preflight(config: ExperimentConfig, results: Mapping[str, Result]) -> None:
    if config.probe.head == "attentive":
        _check_tokens(config, results.get("embed"))
    check_test_videos(config, results, splits=config.probe.splits, superclasses=config.probe.superclasses)


def _check_tokens(config: ExperimentConfig, embedded: Result | None) -> None:
    if embedded is None and not config.embed.tokens:
        raise ConfigError("probe.head=attentive reads the tokens of every video; set embed.tokens=true, too")
    if embedded is not None and not embedded.record.config["embed"].get("tokens"):
        raise ConfigError(
            f"probe.head=attentive reads the tokens of every video, and embed {embedded.key} kept none; embed again "
            "with embed.tokens=true"
        )


def _probe_blocks(stages: Stages) -> list[Block]:
    from mscl.score.blocks import probe_blocks

    return probe_blocks(stages)


def _retrieve_settings(config: ExperimentConfig) -> dict[str, Any]:
    settings = {"retrieve": config.retrieve.key_values(), **split_settings(config, config.retrieve.splits)}
    return settings | group_settings(config)


def _retrieve(run: StageRun) -> dict[str, Any]:
    from mscl.score.probe_and_retrieve import retrieve_variants

    config = run.config.retrieve
    scored = ScoredSplits.of(run, config.splits)
    if scored.reason:
        return scored.skipped(run, "retrieve").as_record()
    notes = scored.say_notes(run)

    def score(manifests: Mapping[int, Manifest], folder: Path) -> dict[str, Any]:
        metrics = retrieve_variants(
            run.input("embed"), folder, manifests=manifests, config=config, grouping=scored.grouping, notes=notes
        )
        for note in metrics.notes[len(notes) :] if folder == run.folder else ():
            run.progress.say(note)
        return metrics.as_record()

    return with_superclasses(scored.manifests, config.superclasses, score, run.folder)


def _retrieve_preflight(config: ExperimentConfig, results: Mapping[str, Result]) -> None:
    from mscl.embedding.approximate_search import refuse_without_faiss

    if config.retrieve.index == "faiss":
        refuse_without_faiss()
    check_test_videos(config, results, splits=config.retrieve.splits, superclasses=config.retrieve.superclasses)


def _retrieve_blocks(stages: Stages) -> list[Block]:
    from mscl.score.blocks import retrieve_blocks

    return retrieve_blocks(stages)


def _probe_headline(metrics: Mapping[str, Any]) -> str:
    from mscl.score.classifier_scores import ProbeMetrics

    return _trained_beside_untrained(ProbeMetrics.read(metrics))


def _retrieve_headline(metrics: Mapping[str, Any]) -> str:
    from mscl.score.retrieval_scores import RetrievalMetrics

    return _trained_beside_untrained(RetrievalMetrics.read(metrics))


def _trained_beside_untrained(found: ProbeMetrics | RetrievalMetrics | Skipped) -> str:
    from mscl.score.scores import percent

    variants = {} if isinstance(found, Skipped) else found.variants
    shown = {variant: percent(scores.first.value) for variant, scores in variants.items()}
    beside = f", untrained {shown['untrained']}" if "untrained" in shown else ""
    return f"{variants['trained'].first_title} {shown['trained']}{beside}" if "trained" in shown else "nothing scored"


PROBE = Stage(
    name="probe",
    version=5,
    needs=("ingest", "pretrain", "embed"),
    settings=_probe_settings,
    run=_probe,
    summary="Classifier on frozen features, with its controls and chance.",
    preflight=_probe_preflight,
    headline=_probe_headline,
    title="Probe",
    lead=(
        "A classifier on an encoder that stays as it is. On one feature a video: logistic regression, regularised as "
        "cross-validation on the train split chose, or a vote of the nearest train videos. On all tokens of a video: "
        "attention with a learnt question, then a linear layer."
    ),
    blocks=_probe_blocks,
    is_experiment=True,
)

RETRIEVE = Stage(
    name="retrieve",
    version=5,
    needs=("ingest", "pretrain", "embed"),
    settings=_retrieve_settings,
    run=_retrieve,
    summary="Nearest neighbours of test videos among train videos: R@k, with its controls and chance.",
    preflight=_retrieve_preflight,
    headline=_retrieve_headline,
    title="Retrieval",
    lead="Test videos ask, train videos answer; features are centred and compared by cosine.",
    blocks=_retrieve_blocks,
    is_experiment=True,
)
