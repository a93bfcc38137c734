"""Fine-tuning: learns what is there, resumes to the same numbers, keeps its files."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mscl.config import FinetuneConfig, ModelConfig, OptimConfig, RuntimeConfig
from mscl.errors import CheckpointError, DataError
from mscl.evaluation import finetune_loop
from mscl.evaluation.classifier import Classifier, load_classifier
from mscl.evaluation.finetune import FinetuneJob, run_finetuning
from mscl.evaluation.finetune_loop import rate_at
from mscl.evaluation.finetune_main import finetune
from mscl.models import untrained_encoder
from mscl.progress import Silent
from mscl.training.distributed import World

TINY = ModelConfig(rgb_width=0.0625)
ALONE = World(0, 1, torch.device("cpu"))
CONFIG = FinetuneConfig(
    initial="random", frames=4, crop_px=16, area=(0.8, 1.0), dropout=0.1, epochs=3, milestones=(2,), batch_size=6,
    optim=OptimConfig(name="adamw", lr=3e-3, weight_decay=0, schedule="constant"), test_crop_px=16, test_clips=2,
)  # fmt: skip


def _job(run: Any, output: Path, config: FinetuneConfig = CONFIG) -> FinetuneJob:
    output.mkdir(exist_ok=True)
    return FinetuneJob(
        extract_folder=str(run.extract), manifest_path=str(run.manifest), checkpoint="", output_folder=str(output),
        finetune=config, model=TINY, runtime=RuntimeConfig(device="cpu", loader_workers=0, processes=1),
    )  # fmt: skip


def test_learns_which_way_a_patch_moves(patch_run: Any, tmp_path: Path) -> None:
    config = CONFIG.model_copy(update={"epochs": 25, "milestones": ()})
    report = finetune(_job(patch_run, tmp_path, config), ALONE)
    curve = [json.loads(line) for line in (tmp_path / "curve.jsonl").read_text().splitlines()]
    assert curve[-1]["loss"] < 0.5 * curve[0]["loss"]
    assert report["top1"] >= 5 / 6
    assert np.sum(report["confusion"]) == 6


def test_predictions_are_kept_with_their_probabilities(patch_run: Any, tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    report = finetune(_job(patch_run, tmp_path), ALONE)
    table = pq.read_table(tmp_path / "predictions.parquet").to_pydict()
    probabilities = np.array(table["probabilities"])
    assert len(table["segment_id"]) == 6
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-5)
    np.testing.assert_array_equal(probabilities.argmax(axis=1), table["predicted"])
    assert np.mean(np.equal(table["predicted"], table["label"])) == pytest.approx(report["top1"])


def test_resumed_training_gives_the_losses_of_an_unbroken_one(
    patch_run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    finetune(_job(patch_run, tmp_path / "whole"), ALONE)

    class StoppedError(Exception):
        pass

    save = finetune_loop._save

    def save_and_stop(*arguments: Any) -> None:
        save(*arguments)
        raise StoppedError

    monkeypatch.setattr(finetune_loop, "_save", save_and_stop)
    for _ in range(2):
        with pytest.raises(StoppedError):
            finetune(_job(patch_run, tmp_path / "broken"), ALONE)
    monkeypatch.undo()
    finetune(_job(patch_run, tmp_path / "broken"), ALONE)
    whole, broken = ((tmp_path / name / "curve.jsonl").read_text() for name in ("whole", "broken"))
    assert whole == broken


def test_classifier_file_gives_the_same_probabilities(patch_run: Any, tmp_path: Path) -> None:
    finetune(_job(patch_run, tmp_path), ALONE)
    trained = load_classifier(tmp_path / "classifier.safetensors")
    assert trained.classes == ("left", "right")
    clip = torch.randint(0, 255, (1, 2, 4, 16, 16, 3), dtype=torch.uint8)
    state = torch.load(tmp_path / "last.pt", weights_only=True)["classifier"]
    again = Classifier(untrained_encoder(TINY, seed=5), 2, dropout=0.5).eval()
    again.load_state_dict(state)
    torch.testing.assert_close(trained.classifier.probabilities(clip), again.probabilities(clip))


def test_other_files_are_no_classifier(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    with pytest.raises(CheckpointError, match="finetune stage"):
        load_classifier(tmp_path / "absent.safetensors")
    save_file({"a": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(CheckpointError, match="no format"):
        load_classifier(tmp_path / "other.safetensors")


def test_probabilities_of_clips_are_averaged() -> None:
    classifier = Classifier(untrained_encoder(TINY, seed=0), 3, dropout=0.5).eval()
    clips = torch.randint(0, 255, (2, 4, 4, 16, 16, 3), dtype=torch.uint8)
    single = torch.stack([classifier.probabilities(clips[:, k : k + 1]) for k in range(4)]).mean(dim=0)
    torch.testing.assert_close(classifier.probabilities(clips), single)


def test_learning_rate_falls_to_a_tenth_at_each_milestone() -> None:
    config = FinetuneConfig(epochs=22, milestones=(14, 18))
    rates = [rate_at(epoch * 10, config=config, total=220, per_epoch=10) for epoch in (0, 13, 14, 17, 18, 21)]
    np.testing.assert_allclose(rates, [0.12, 0.12, 0.012, 0.012, 0.0012, 0.0012])


def test_batch_larger_than_the_train_split_is_lowered_and_said(patch_run: Any, tmp_path: Path) -> None:
    config = CONFIG.model_copy(update={"batch_size": 32, "epochs": 1, "milestones": ()})
    report = finetune(_job(patch_run, tmp_path, config), ALONE)
    assert report["warnings"] == ["batch 12 instead of 32: 12 train videos, 1 processes"]


def test_divergence_is_one_clear_line(patch_run: Any, tmp_path: Path) -> None:
    config = CONFIG.model_copy(update={"optim": OptimConfig(name="sgd", lr=1e30, schedule="constant", clip_norm=1e30)})
    with pytest.raises(DataError, match="not finite; lower finetune.optim.lr"):
        finetune(_job(patch_run, tmp_path, config), ALONE)


def test_two_ranks_under_torchrun(patch_run: Any, tmp_path: Path) -> None:
    job = _job(patch_run, tmp_path)
    job = job.model_copy(update={"runtime": job.runtime.model_copy(update={"processes": 2, "threads": 1})})
    metrics = run_finetuning(job, progress=Silent())
    assert metrics["epochs"] == 3
    assert metrics["num_test"] == 6
    assert "confusion" not in metrics
    assert not (tmp_path / "last.pt").exists()
    names = {path.name for path in tmp_path.iterdir()}
    assert {"metrics.json", "predictions.parquet", "curve.jsonl", "classifier.safetensors", "train.log"} <= names
