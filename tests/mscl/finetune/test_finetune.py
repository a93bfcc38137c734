"""Fine-tuning: learns what is there, resumes to the same numbers, keeps its files."""

import json
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mscl.config import FinetuneConfig, ModelConfig, OptimConfig, RuntimeConfig
from mscl.errors import CheckpointError, UserError
from mscl.extract.config import FlowConfig
from mscl.finetune import job as finetune_job
from mscl.finetune import process
from mscl.finetune.classifier import Classifier, load_classifier
from mscl.finetune.fit_classifier import Curve, rate_at
from mscl.finetune.job import FinetuneJob, run_finetuning
from mscl.finetune.predict import grad_cam
from mscl.finetune.process import finetune
from mscl.finetune.scores import FinetuneMetrics
from mscl.models.encoders import untrained_encoder
from mscl.models.external_encoder import named_file
from mscl.models.files import write_encoder
from mscl.models.weight_files import read_checkpoint
from mscl.progress import Silent
from mscl.trackers.tracking import Tracking
from mscl.training.checkpoint import checkpoints
from mscl.training.distributed import World
from mscl.training.fit import Finished
from mscl.training.metrics import NonFiniteError
from mscl.video.clips import EvalClips, LabelledBatch, TrainClips
from storage.manifest import read_manifest, write_table

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
        finetune=config, model=TINY,
        encoder_input=config.test_input(FlowConfig().recipe, max_segment_seconds=10),
        runtime=RuntimeConfig(device="cpu", loader_workers=0, processes=1),
    )  # fmt: skip


def reported(job: FinetuneJob) -> Any:
    """What fine-tuning in this process says of itself."""
    finetune(job, ALONE)
    return json.loads((Path(job.output_folder) / "metrics.json").read_text())


def _with_validation(job: FinetuneJob, folder: Path) -> FinetuneJob:
    """Two of the six test videos are for validation."""
    manifest = read_manifest(Path(job.manifest_path))
    split = ["val" if row.video in ("left/v12.mp4", "right/v13.mp4") else row.split for row in manifest.rows()]
    table = manifest.table.set_column(manifest.table.column_names.index("split"), "split", [split])
    write_table(folder / "val.parquet", table.replace_schema_metadata(manifest.table.schema.metadata))
    return job.model_copy(update={"manifest_path": str(folder / "val.parquet")})


def test_learns_which_way_a_patch_moves(patch_run: Any, tmp_path: Path) -> None:
    config = CONFIG.model_copy(update={"epochs": 25, "milestones": ()})
    report = reported(_job(patch_run, tmp_path, config))
    curve = [json.loads(line) for line in (tmp_path / "curve.jsonl").read_text().splitlines()]
    assert curve[-1]["loss"] < 0.5 * curve[0]["loss"]
    assert report["top1"] >= 5 / 6
    assert np.sum(report["confusion"]) == 6


def test_predictions_are_kept_with_their_probabilities(patch_run: Any, tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    report = reported(_job(patch_run, tmp_path))
    table = pq.read_table(tmp_path / "predictions.parquet").to_pydict()
    probabilities = np.array(table["probabilities"])
    assert table["video"] == [f"{('left', 'right')[i % 2]}/v{i:02d}.mp4" for i in range(12, 18)]
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-5)
    np.testing.assert_array_equal(probabilities.argmax(axis=1), table["predicted"])
    assert np.mean(np.equal(table["predicted"], table["label"])) == pytest.approx(report["top1"])


def test_an_encoder_of_another_program_is_fine_tuned_and_read_again(patch_run: Any, tmp_path: Path) -> None:
    given = named_file("tests.mscl.models.own_networks:means").encoder
    file = write_encoder(given, None, tmp_path / "given.safetensors", card={})
    config = CONFIG.model_copy(update={"initial": "pretrained", "epochs": 1, "milestones": ()})
    job = _job(patch_run, tmp_path / "out", config).model_copy(update={"checkpoint": str(file)})
    report = reported(job)
    path = tmp_path / "out" / "classifier.safetensors"
    with pytest.raises(CheckpointError, match="code of somebody's own"):
        load_classifier(path)
    classifier = load_classifier(path, own_code=True).classifier
    with pytest.raises(UserError, match="Grad-CAM is for encoders of this program"):
        grad_cam(classifier, np.zeros((4, 16, 16, 3), dtype=np.uint8))
    weights, tuned = given.state_dict(), classifier.encoder.state_dict()
    assert weights.keys() == tuned.keys() and not all(torch.equal(weights[name], tuned[name]) for name in weights)
    assert report["num_test"] == 6


@pytest.mark.parametrize("step", [1, 2, 3, 5])
def test_a_stop_at_any_step_changes_nothing(
    patch_run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    """SIGTERM in the middle of an epoch (1, 3, 5) and at its end (2): the files are the same to the bit."""
    finetune(_job(patch_run, tmp_path / "whole"), ALONE)
    load = TrainClips.load

    def killed(clips: TrainClips, *arguments: Any) -> LabelledBatch:
        nonlocal step
        step -= 1
        if step == 0:
            os.kill(os.getpid(), signal.SIGTERM)
        return load(clips, *arguments)

    at = step
    monkeypatch.setattr(TrainClips, "load", killed)
    assert finetune(_job(patch_run, tmp_path / "broken"), ALONE) == Finished(at, stopped=True)
    assert not (tmp_path / "broken" / "metrics.json").exists()
    torch.manual_seed(1)  # the random numbers of dropout go on where they were
    finetune(_job(patch_run, tmp_path / "broken"), ALONE)
    for name in ("curve.jsonl", "classifier.safetensors", "metrics.json"):
        whole, broken = ((tmp_path / folder / name).read_bytes() for folder in ("whole", "broken"))
        assert whole == broken, name
    assert list((tmp_path / "broken" / "tensorboard").iterdir())


def test_validation_that_a_kill_cut_short_is_made_again(
    patch_run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The checkpoint at the end of an epoch is there before its validation begins, which may take long."""
    job = _with_validation(_job(patch_run, tmp_path / "whole"), tmp_path)
    finetune(job, ALONE)
    predict_all = process.predict_all

    def killed(*arguments: Any, **settings: Any) -> Any:
        raise KeyboardInterrupt

    broken = job.model_copy(update={"output_folder": str(tmp_path / "broken")})
    (tmp_path / "broken").mkdir()
    monkeypatch.setattr(process, "predict_all", killed)
    with pytest.raises(KeyboardInterrupt):
        finetune(broken, ALONE)
    assert [path.name for path in checkpoints(tmp_path / "broken" / "checkpoints")] == ["step-00000002.pt"]
    monkeypatch.setattr(process, "predict_all", predict_all)
    finetune(broken, ALONE)
    whole, again = ((tmp_path / name / "curve.jsonl").read_text() for name in ("whole", "broken"))
    assert whole == again and whole.count("val_top1") == 3


def test_a_validation_is_told_once_though_a_kill_has_it_made_again(
    patch_run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until the next checkpoint the run goes on from the end of the epoch, which validates."""
    tracking = Tracking(trackers=("tests.mscl.trackers.own_trackers:Writing",))
    job = _with_validation(_job(patch_run, tmp_path / "run"), tmp_path).model_copy(update={"tracking": tracking})
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        begin_epoch, calls = Curve.add, iter(range(9))

        def killed(curve: Curve, *arguments: Any) -> torch.Tensor:
            if next(calls) == 2:
                raise KeyboardInterrupt
            return begin_epoch(curve, *arguments)

        patch.setattr(Curve, "add", killed)
        finetune(job, ALONE)
    finetune(job, ALONE)
    rows = [json.loads(line) for line in (tmp_path / "run" / "told.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows if "top1/val" in row.get("values", {})] == [2, 4, 6]


def test_the_same_inputs_give_the_same_bytes(patch_run: Any, tmp_path: Path) -> None:
    for name in ("one", "two"):
        finetune(_job(patch_run, tmp_path / name), ALONE)
    for name in ("classifier.safetensors", "predictions.parquet", "metrics.json", "curve.jsonl"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes(), name


@pytest.mark.parametrize("name", ["classifier.safetensors", "predictions.parquet", "metrics.json", "finished.json"])
def test_a_finished_run_that_is_damaged_is_made_again(
    patch_run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Of several runs those that are done wait for the others; a bit may flip meanwhile."""
    begun: list[str] = []

    def in_this_process(module: str, arguments: list[str], **_: Any) -> None:
        begun.append(arguments[0])
        if len(begun) == 2:
            raise KeyboardInterrupt
        finetune(FinetuneJob.load(Path(arguments[0])), ALONE)

    monkeypatch.setattr(finetune_job, "run_torchrun", in_this_process)
    job = _job(patch_run, tmp_path, CONFIG.model_copy(update={"epochs": 1, "milestones": (), "seeds": (0, 5)}))
    with pytest.raises(KeyboardInterrupt):
        run_finetuning(job, manifests={1: patch_run.manifest}, progress=Silent())
    path = tmp_path / ".runs" / "split1-seed0" / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)
    run_finetuning(job, manifests={1: patch_run.manifest}, progress=Silent())
    assert [Path(each).parent.name for each in begun] == ["split1-seed0", "split1-seed5"] * 2
    load_classifier(tmp_path / "classifier.safetensors")


def test_classifier_file_gives_the_same_probabilities(patch_run: Any, tmp_path: Path) -> None:
    finetune(_job(patch_run, tmp_path), ALONE)
    trained = load_classifier(tmp_path / "classifier.safetensors")
    assert trained.classes == ("left", "right")
    clip = torch.randint(0, 255, (1, 2, 4, 16, 16, 3), dtype=torch.uint8)
    state = read_checkpoint(checkpoints(tmp_path / "checkpoints")[-1])["classifier"]
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


def test_learning_rate_falls_at_each_milestone() -> None:
    config = FinetuneConfig(epochs=22, milestones=(14, 18))
    thirds = config.model_copy(update={"milestone_factor": 0.3})
    assert rate_at(180, config=thirds, total=220, per_epoch=10) == pytest.approx(0.12 * 0.09)
    rates = [rate_at(epoch * 10, config=config, total=220, per_epoch=10) for epoch in (0, 13, 14, 17, 18, 21)]
    np.testing.assert_allclose(rates, [0.12, 0.12, 0.012, 0.012, 0.0012, 0.0012])


def test_batch_larger_than_the_train_split_is_lowered_and_said(patch_run: Any, tmp_path: Path) -> None:
    config = CONFIG.model_copy(update={"batch_size": 32, "epochs": 1, "milestones": ()})
    report = reported(_job(patch_run, tmp_path, config))
    assert report["warnings"] == ["batch 12 instead of 32: 12 train segments"]


def test_the_learning_rate_follows_the_batch_where_it_is_meant_for_one(patch_run: Any, tmp_path: Path) -> None:
    optim = OptimConfig(lr=0.12, schedule="constant")
    changes = {"batch_size": 6, "lr_batch_size": 32, "optim": optim, "epochs": 1, "milestones": ()}
    report = reported(_job(patch_run, tmp_path, CONFIG.model_copy(update=changes)))
    assert report["warnings"] == ["learning rate 0.0225 for batch 6: 0.12 is meant for 32"]
    curve = json.loads((tmp_path / "curve.jsonl").read_text())
    assert curve["lr"] == pytest.approx(0.12 * 6 / 32)


def test_divergence_is_one_clear_line(patch_run: Any, tmp_path: Path) -> None:
    config = CONFIG.model_copy(update={"optim": OptimConfig(name="sgd", lr=1e30, schedule="constant", clip_norm=1e30)})
    with pytest.raises(NonFiniteError, match=r"loss .* is not finite; .*\. Lower finetune.optim.lr \(1e\+30\)"):
        finetune(_job(patch_run, tmp_path, config), ALONE)
    saved = json.loads((tmp_path / "nonfinite-rank0.json").read_text())
    assert len(saved["segments"]) == 6 and not (tmp_path / "checkpoints").exists()


def test_two_ranks_under_torchrun(patch_run: Any, tmp_path: Path) -> None:
    job = _job(patch_run, tmp_path)
    job = job.model_copy(update={"runtime": job.runtime.model_copy(update={"processes": 2, "threads": 1})})
    metrics = run_finetuning(job, manifests={1: patch_run.manifest}, notes=["a note"], progress=Silent())
    assert metrics.epochs == 3
    assert metrics.scores.num_test == 6
    assert metrics.notes == ("a note",)
    assert FinetuneMetrics.read(metrics.as_record()).as_record() == metrics.as_record()
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {
        "metrics.json",
        "predictions.parquet",
        "curve.jsonl",
        "classifier.safetensors",
        "tensorboard",
        "train.log",
    }


def test_splits_and_seeds_are_averaged_and_a_stopped_one_goes_on(
    patch_run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two splits and two seeds; the processes of each run are this one, as torchrun's start is tested above."""
    import pyarrow.parquet as pq

    manifest = read_manifest(patch_run.manifest)
    other = ["test" if row.video < "left/v06" or row.video > "right/v12" else "train" for row in manifest.rows()]
    place = manifest.table.column_names.index("split")
    table = manifest.table.set_column(place, "split", [other])
    write_table(tmp_path / "two.parquet", table.replace_schema_metadata(manifest.table.schema.metadata))
    begun: list[str] = []

    def in_this_process(module: str, arguments: list[str], **_: Any) -> None:
        begun.append(Path(arguments[0]).parent.name)
        if len(begun) == 3:
            raise KeyboardInterrupt
        finetune(FinetuneJob.load(Path(arguments[0])), ALONE)

    monkeypatch.setattr(finetune_job, "run_torchrun", in_this_process)
    config = CONFIG.model_copy(update={"epochs": 1, "milestones": (), "seeds": (0, 5), "splits": (1, 2)})
    job = _job(patch_run, tmp_path / "out", config)
    manifests = {1: patch_run.manifest, 2: tmp_path / "two.parquet"}
    with pytest.raises(KeyboardInterrupt):
        run_finetuning(job, manifests=manifests, progress=Silent())
    metrics = run_finetuning(job, manifests=manifests, progress=Silent())
    # The first two runs were done: only the one that was stopped and the last are begun again.
    runs = [f"split{split}-seed{seed}" for split in (1, 2) for seed in (0, 5)]
    assert begun == [*runs[:3], *runs[2:]]
    scores = metrics.scores
    assert [(run.split, run.seed) for run in scores.runs] == [(1, 0), (1, 5), (2, 0), (2, 5)]
    top1 = np.array([run.top1.value for run in scores.runs]).reshape(2, 2)
    assert scores.top1.value == pytest.approx(top1.mean())
    assert scores.top1.std_seeds == pytest.approx(top1.mean(axis=0).std(ddof=1))
    assert scores.top1.std_splits == pytest.approx(top1.mean(axis=1).std(ddof=1))
    rows = pq.read_table(tmp_path / "out" / "predictions.parquet").to_pydict()
    assert sorted(set(zip(rows["split"], rows["seed"], strict=True))) == [(1, 0), (1, 5), (2, 0), (2, 5)]
    weights = {path.name for path in (tmp_path / "out").glob("*.safetensors")}
    assert weights == {"classifier.safetensors", *(f"classifier-{run}.safetensors" for run in runs[1:])}
    assert not (tmp_path / "out" / ".runs").exists()
    assert json.loads((tmp_path / "out" / "metrics.json").read_text())["runs"] == metrics.as_record()["runs"]


def test_a_long_video_counts_once_with_the_mean_of_its_segments(patch_run: Any, tmp_path: Path) -> None:
    """The six test videos seen as three of two segments each."""
    from mscl.score.predictions import read_predictions
    from mscl.video.normalise import normalise_rgb

    manifest = read_manifest(patch_run.manifest)
    videos = manifest.column("video").astype(str)
    long = {f"{side}/v{i:02d}.mp4": f"{side}/long{i // 4}.mp4" for i in range(12, 16) for side in ("left", "right")}
    table = manifest.table.set_column(
        manifest.table.column_names.index("video"), "video", [[long.get(name, name) for name in videos]]
    )
    path = tmp_path / "manifest.parquet"
    write_table(path, table.replace_schema_metadata(manifest.table.schema.metadata))
    job = _job(patch_run, tmp_path / "out", CONFIG.model_copy(update={"epochs": 1, "milestones": ()}))
    report = reported(job.model_copy(update={"manifest_path": str(path)}))
    assert report["num_test"] == 4  # left/long3, right/long3 and two single ones
    _, found = read_predictions(tmp_path / "out" / "predictions.parquet")
    classifier = load_classifier(tmp_path / "out" / "classifier.safetensors").classifier
    clips = EvalClips(
        patch_run.extract / "frames", rows=np.arange(12, 18), labels=np.arange(12, 18) % 2, clips=2, length=4, stride=8,
        crop_px=16, short_side_px=16, sampling="segments",
    )  # fmt: skip
    rgb = clips.load(0, np.arange(6)).rgb_BKTHW3
    with torch.no_grad():
        each = classifier(normalise_rgb(rgb.flatten(0, 1))).softmax(1).unflatten(0, (6, 2)).mean(1).numpy()
    expected = np.stack([(each[0] + each[2]) / 2, (each[1] + each[3]) / 2, each[4], each[5]])
    np.testing.assert_allclose(found, expected, atol=1e-5)
