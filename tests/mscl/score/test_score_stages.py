"""Stages that score: any encoder, official splits, one set of features for all of them."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from mscl.config import ExperimentConfig, load_config
from mscl.errors import CheckpointError
from mscl.models.encoders import untrained_encoder
from mscl.models.files import EXPORT_NAME, write_encoder
from mscl.pipeline import BY_NAME, Outcome, execute, refuse_early
from mscl.pretrain.stage import PRETRAIN
from mscl.progress import Silent
from storage.errors import StorageError
from storage.manifest import read_manifest
from storage.result_folder import Result
from storage.splits import write_splits
from storage.workspace import Workspace

SMALL = [
    "clip.length=4", "clip.stride=1", "embed.clips=2", "embed.crops=3", "embed.crop_px=16", "embed.controls=false",
    "pretrain.model.rgb_width=0.0625", "probe.l2=1", "retrieve.ks=1,5", "runtime.loader_workers=0",
    "runtime.device=cpu",
]  # fmt: skip


class _Told(Silent):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, message: str) -> None:
        self.lines.append(message)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "workspace")


@pytest.fixture
def inputs(patch_run: Any, workspace: Workspace) -> dict[str, Result]:
    """Results of ingest, extract and screen, on which pre-training and scores stand; split 2 swaps train and test."""
    results: dict[str, Result] = {}
    demo = load_config("demo")
    noted = {
        "ingest": {"data": demo.data.model_dump(mode="json")},
        "extract": {"flow": demo.flow.model_dump(mode="json")},
    }
    for name in ("ingest", "extract", "screen"):
        with workspace.claim(name, name) as folder:
            shutil.copytree(getattr(patch_run, name), folder, dirs_exist_ok=True)
            if name == "ingest":
                split = [str(value) for value in read_manifest(folder / "manifest.parquet").column("split")]
                swapped = ["test" if value == "train" else "train" for value in split]
                write_splits(folder, {1: split, 2: swapped})
            results[name] = workspace.commit(
                name, name, version=1, config=noted.get(name, {}),
                inputs={} if name == "ingest" else {"ingest": "ingest"}, metrics={}, timings={},
            )  # fmt: skip
    return results


def _scored(
    workspace: Workspace, inputs: dict[str, Result], config: ExperimentConfig, *stages: str
) -> tuple[dict[str, Outcome], list[str]]:
    told, results, outcomes = _Told(), dict(inputs), {}
    for name in ("pretrain", "embed", *stages):
        outcomes[name] = execute(BY_NAME[name], workspace, config, results, progress=told)
        results[name] = outcomes[name].result
    return outcomes, told.lines


def test_a_given_encoder_is_scored_on_every_split_with_one_set_of_features(
    workspace: Workspace, inputs: dict[str, Result]
) -> None:
    overrides = [*SMALL, "pretrain.encoder=random"]
    config = load_config("demo", [*overrides, "probe.splits=1,2", "retrieve.splits=1,2"])
    outcomes, told = _scored(workspace, inputs, config, "probe", "retrieve")
    assert any("nothing is trained" in line for line in told)
    probe, retrieve = (outcomes[name].result.record.metrics["trained"] for name in ("probe", "retrieve"))
    assert [(run["split"], run["num_test"]) for run in probe["runs"]] == [(1, 6), (2, 12)]
    assert [(run["split"], run["query"]) for run in retrieve["runs"]] == [(1, 6), (2, 12)]
    assert not any("shorter than a clip" in line for line in told)
    short, told = _scored(workspace, inputs, load_config("demo", [*overrides, "clip.stride=50"]), "retrieve")
    said = [line for line in told if "of 18 segments are shorter than a clip, which takes 151 frames" in line]
    assert said and said[0] in short["retrieve"].result.record.metrics["notes"]
    # Another split alone: the same encoder and the same features.
    second = load_config("demo", [*overrides, "data.split=2"])
    again, _ = _scored(workspace, inputs, second, "probe")
    assert again["pretrain"].reused and again["embed"].reused and not again["probe"].reused
    assert again["probe"].result.record.metrics["trained"]["top1"] == probe["runs"][1]["top1"]
    absent = load_config("demo", [*overrides, "probe.splits=1,3"])
    with pytest.raises(StorageError, match="no split 3"):
        _scored(workspace, inputs, absent, "probe")
    with pytest.raises(StorageError, match="no split 3"):  # before anything is trained
        refuse_early(workspace, absent, stages=[BY_NAME["ingest"], BY_NAME["probe"]], done={"ingest": inputs["ingest"]})


def test_splits_that_are_asked_for_in_vain_are_said(
    workspace: Workspace, inputs: dict[str, Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("storage.splits.split_numbers", lambda folder: ())
    config = load_config("demo", [*SMALL, "pretrain.encoder=random", "retrieve.splits=1,2,3"])
    outcomes, _ = _scored(workspace, inputs, config, "probe", "retrieve")
    said = "split 1, 2, 3 was asked for, and the dataset has one, which is scored"
    assert said in outcomes["retrieve"].result.record.metrics["notes"]
    assert said not in outcomes["probe"].result.record.metrics["notes"]


def test_test_videos_that_the_encoder_was_trained_on_are_told(workspace: Workspace, inputs: dict[str, Result]) -> None:
    config = load_config("demo", [*SMALL, "probe.splits=1,2"])
    settings = PRETRAIN.settings(config)
    with workspace.claim("pretrain", "trained") as folder:  # as a training on split 1 leaves it
        encoder = untrained_encoder(config.pretrain.model, seed=0)
        path = write_encoder(encoder, config.pretrain.model, folder / EXPORT_NAME, card={})
        pretrained = workspace.commit(
            "pretrain", "trained", version=1, config=settings, inputs={"ingest": "ingest"},
            metrics={"checkpoint": path.name}, timings={},
        )  # fmt: skip
    results, told = {**inputs, "pretrain": pretrained}, _Told()
    results["embed"] = execute(BY_NAME["embed"], workspace, config, results).result
    record = execute(BY_NAME["probe"], workspace, config, results, progress=told).result.record
    lost, seen, independent = record.metrics["notes"]
    assert lost == "split 2: 1 of the 13 test videos cannot be used and are in no score; ingest says why"
    assert seen == "split 2: pre-training saw 12 of the 12 test videos, without their labels"
    assert independent.startswith("intervals take every video as independent")
    assert told.lines == record.metrics["notes"]
    # The same training, given as a file: what it saw is what its record says.
    given = load_config("demo", [*SMALL, "probe.splits=1,2", f"pretrain.encoder={path}"])
    assert seen in _scored(workspace, inputs, given, "probe")[0]["probe"].result.record.metrics["notes"]


def test_a_file_is_named_by_its_contents(tmp_path: Path) -> None:
    def settings(path: Path) -> dict[str, Any]:
        return PRETRAIN.settings(load_config("demo", [*SMALL, f"pretrain.encoder={path}"]))

    config = load_config("demo", SMALL).pretrain.model
    first = write_encoder(untrained_encoder(config, seed=0), config, tmp_path / "a" / EXPORT_NAME, card={})
    other = write_encoder(untrained_encoder(config, seed=1), config, tmp_path / "b" / EXPORT_NAME, card={})
    (tmp_path / "c").mkdir()
    copy = Path(shutil.copy(first, tmp_path / "c"))
    assert settings(first) == settings(copy) != settings(other)
    assert "encoder" not in PRETRAIN.settings(load_config("demo"))["pretrain"]
    with pytest.raises(CheckpointError, match="absent.pth does not exist"):
        settings(tmp_path / "absent.pth")


def test_an_encoder_of_another_program_is_scored_on_frozen_features_beside_its_controls(
    workspace: Workspace, inputs: dict[str, Result]
) -> None:
    overrides = [*SMALL, "pretrain.encoder=tests.mscl.models.own_networks:means", "embed.controls=true"]
    outcomes, told = _scored(workspace, inputs, load_config("demo", overrides), "probe", "retrieve")
    assert any(line.startswith("embedding with ") for line in told)
    neighbours, _ = _scored(workspace, inputs, load_config("demo", [*overrides, "probe.head=knn"]), "probe")
    for scored in (outcomes["probe"], neighbours["probe"], outcomes["retrieve"]):
        controls = {"untrained", "trained_first", "trained_middle", "trained_last", "trained_shuffled"}
        assert {"trained", *controls} <= scored.result.record.metrics.keys()
