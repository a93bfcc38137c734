"""The loop in one process: it learns, resumes bit by bit, stops when asked, and refuses what does not fit."""

import json
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mscl.errors import CheckpointError, ConfigError
from mscl.models.encoders import untrained_encoder
from mscl.models.files import read_encoder
from mscl.models.weight_files import read_checkpoint
from mscl.pretrain.config import PretrainConfig
from mscl.pretrain.fit_mscl import fit_mscl
from mscl.score.config import ProbeConfig
from mscl.score.probe import linear_probe
from mscl.score.retrieval import retrieve
from mscl.training.checkpoint import checkpoints
from mscl.training.distributed import World
from mscl.training.fit import Finished, StopRequest
from mscl.training.metrics import NonFiniteError, read_metrics
from mscl.views import RawBatch, TwoViews
from tests.mscl.synthetic import SyntheticBatches, plain_views, tiny_config

ALONE = World(0, 1, torch.device("cpu"))
STEPS_PER_EPOCH = 4
OFTEN = tiny_config(checkpoint_minutes=1e-9, keep_checkpoints=2)
"""A checkpoint after every step."""


def flip_a_bit(content: bytes) -> bytes:
    """In the middle, where the tensors are."""
    damaged = bytearray(content)
    damaged[len(damaged) // 2] ^= 1
    return bytes(damaged)


def run(
    config: PretrainConfig,
    output: Path,
    *,
    stop_after: int | None = None,
    augment: Any = plain_views,
    world: World = ALONE,
) -> Finished:
    stop = StopRequest()
    calls = 0

    def counted(raw: RawBatch) -> TwoViews:
        nonlocal calls
        calls += 1
        stop.asked = stop_after is not None and calls >= stop_after * config.accumulate
        views: TwoViews = augment(raw)
        return views

    return fit_mscl(
        config,
        SyntheticBatches(batch_size=config.batch_size, total_steps=config.epochs * STEPS_PER_EPOCH),
        counted,
        steps_per_epoch=STEPS_PER_EPOCH,
        output=output,
        world=world,
        stop=stop,
        log_every=1,
    )


def same(a: object, b: object) -> bool:
    if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b


def losses(output: Path) -> list[float]:
    return [row["loss"] for row in read_metrics(output / "metrics.jsonl")]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training of `OFTEN` to its end; tests change copies of it."""
    folder = tmp_path_factory.mktemp("whole")
    assert run(OFTEN, folder) == Finished(8, stopped=False)
    return folder


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same of `tiny_config()`, stopped after one step."""
    folder = tmp_path_factory.mktemp("begun")
    assert run(tiny_config(), folder, stop_after=1) == Finished(1, stopped=True)
    return folder


@pytest.fixture
def stopped(begun: Path, tmp_path: Path) -> Path:
    """A copy of `begun`, to be changed or gone on with."""
    return Path(shutil.copytree(begun, tmp_path / "stopped"))


# fp16 leaves steps out and halves its scale: the state of the scaler must come back, too. On a CPU it is slow.
@pytest.mark.parametrize(("optimiser", "precision", "clips"), [("adamw", "fp32", 8), ("sgd", "fp16", 4)])
def test_resuming_equals_not_stopping_bit_by_bit(tmp_path: Path, optimiser: str, precision: str, clips: int) -> None:
    """SGD in fp32 does, too: it is resumed where a checkpoint is damaged, below."""
    optim = {"name": optimiser, "lr": 0.01, "warmup_epochs": 0.5}
    config = tiny_config(optim=optim, precision=precision, batch_size=clips)
    assert run(config, tmp_path / "whole") == Finished(8, stopped=False)
    assert run(config, tmp_path / "parts", stop_after=3) == Finished(3, stopped=True)
    assert run(config, tmp_path / "parts", stop_after=2) == Finished(5, stopped=True)
    assert run(config, tmp_path / "parts") == Finished(8, stopped=False)
    assert losses(tmp_path / "whole") == losses(tmp_path / "parts")
    states = [read_checkpoint(checkpoints(tmp_path / name / "checkpoints")[-1]) for name in ("whole", "parts")]
    for state in states:  # other threads of this process, such as Prefect's, draw from Python's generator, too
        del state["random"][0]["python"]
    assert same(*states)
    assert states[0]["model"]["queues.pointer"] == 8 * clips % 32
    left_out = [row.get("left_out", 0) for row in read_metrics(tmp_path / "parts" / "metrics.jsonl")]
    scale = states[0]["optimiser"]["scaler"].get("scale", 65536)
    assert scale == 65536 / 2 ** sum(left_out) and (sum(left_out) > 0) == (precision == "fp16")


def test_a_finished_run_does_nothing_more(whole: Path, tmp_path: Path) -> None:
    again = tmp_path / "again"
    shutil.copytree(whole, again)
    assert run(OFTEN, again, augment=None) == Finished(8, stopped=False)
    assert losses(again) == losses(whole)
    rows = (again / "metrics.jsonl").read_text()
    (again / "metrics.jsonl").write_text(rows[: len(rows) // 2])
    assert run(OFTEN, again, augment=None) == Finished(8, stopped=False)
    # The record will vouch for it, and other programs read it: whole lines only.
    assert all(json.loads(line)["step"] for line in (again / "metrics.jsonl").read_text().splitlines())


def test_rows_past_the_checkpoint_are_dropped(tmp_path: Path) -> None:
    run(tiny_config(), tmp_path, stop_after=3)
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write(json.dumps({"step": 4, "loss": -1.0}) + '\n{"step": 5, "lo')
    run(tiny_config(), tmp_path)
    assert [row["step"] for row in read_metrics(tmp_path / "metrics.jsonl")] == list(range(1, 9))
    assert -1.0 not in losses(tmp_path)


def test_what_damage_took_from_the_curve_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(tiny_config(), tmp_path, stop_after=3)
    run(tiny_config(), tmp_path, stop_after=2)
    assert "loss curve" not in capsys.readouterr().err  # nothing is missing
    rows = (tmp_path / "metrics.jsonl").read_bytes().splitlines(keepends=True)
    for left, damaged in ((4, [b"\xff" + rows[0], *rows[1:]]), (4, rows[:4]), (0, [])):
        (tmp_path / "metrics.jsonl").write_bytes(b"".join(damaged))
        run(tiny_config(), tmp_path, stop_after=1)
        said = capsys.readouterr().err
        assert said.count("\n") == 1 and f"damaged: of the loss curve up to step 5 it holds {left} points" in said
        for path in checkpoints(tmp_path / "checkpoints"):  # back to step 5
            if path != checkpoints(tmp_path / "checkpoints")[0]:
                path.unlink()


def test_every_loss_is_logged_with_its_accuracy(whole: Path) -> None:
    row = read_metrics(whole / "metrics.jsonl")[-1]
    names = ["rgb", "flow", "rotated", "rgb_to_flow", "flow_to_rgb", "rgb_to_rotated", "rotated_to_rgb", "local_motion"]
    assert row["loss"] == pytest.approx(sum(row[name] for name in names), rel=1e-5)
    assert all(0 <= row[f"{name}_top1"] <= 1 for name in names)
    assert row["epoch"] == 2 and row["total_steps"] == 8 and row["key_momentum"] > 0.99
    assert list((whole / "tensorboard").iterdir())


def test_the_trained_encoder_can_be_loaded(whole: Path) -> None:
    encoder = read_encoder(checkpoints(whole / "checkpoints")[-1]).encoder
    assert encoder(torch.rand(2, 3, 8, 16, 16)).shape == (2, 32)
    untrained = untrained_encoder(OFTEN.model, seed=OFTEN.seed)
    assert not torch.equal(encoder.stem[0].weight, untrained.stem[0].weight)


def test_the_same_seed_gives_the_same_scores_with_one_thread(whole: Path, tmp_path: Path) -> None:
    """Two trainings of one configuration: features and scores are the same to the bit."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        rng = np.random.default_rng(0)
        clips, labels = torch.from_numpy(rng.random((48, 3, 8, 16, 16), dtype=np.float32)), np.arange(48) % 3
        clips[:, 0] += 0.1 * torch.from_numpy(labels).float()[:, None, None, None]
        found, untrained = {}, untrained_encoder(tiny_config().model, seed=0).eval()
        run(tiny_config(), tmp_path)
        for name, output in (("first", whole), ("again", tmp_path)):
            encoder = read_encoder(checkpoints(output / "checkpoints")[-1]).encoder
            with torch.no_grad():
                features = encoder(clips).numpy()
            halves = features[:24], labels[:24], features[24:], labels[24:]
            linear = linear_probe(*halves, num_classes=3, config=ProbeConfig(l2=(1.0,))).scores
            nearest = retrieve(*halves[2:], *halves[:2], ks=(1, 5))
            found[name] = features.tobytes(), linear.top1, linear.top1_interval, nearest.recall, nearest.mean_ap
        assert found["first"] == found["again"]
        with torch.no_grad():
            assert found["first"][0] != untrained(clips).numpy().tobytes()
    finally:
        torch.set_num_threads(threads)


def test_only_the_last_checkpoints_are_kept(whole: Path) -> None:
    assert [path.name for path in checkpoints(whole / "checkpoints")] == ["step-00000007.pt", "step-00000008.pt"]


def test_accumulation_reads_and_writes_the_queues_once_a_step(whole: Path, tmp_path: Path) -> None:
    """Same pointer and ages as without; batch norm sees smaller batches, so the keys themselves differ."""
    run(tiny_config(accumulate=2), tmp_path)
    states = [read_checkpoint(checkpoints(folder / "checkpoints")[-1])["model"] for folder in (whole, tmp_path)]
    assert states[0]["queues.pointer"] == states[1]["queues.pointer"]
    assert torch.equal(states[0]["queues.age_K"], states[1]["queues.age_K"])


def test_sigterm_writes_a_checkpoint_and_leaves(tmp_path: Path) -> None:
    config = tiny_config()

    def killed(raw: RawBatch) -> TwoViews:
        os.kill(os.getpid(), signal.SIGTERM)
        return plain_views(raw)

    before = signal.getsignal(signal.SIGTERM)
    with StopRequest() as stop:
        finished = fit_mscl(
            config,
            SyntheticBatches(batch_size=8, total_steps=8),
            killed,
            steps_per_epoch=4,
            output=tmp_path,
            world=ALONE,
            stop=stop,
        )
    assert finished == Finished(1, stopped=True)
    assert len(checkpoints(tmp_path / "checkpoints")) == 1
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_loss_that_is_no_number_stops_and_names_the_segments(tmp_path: Path) -> None:
    def poisoned(raw: RawBatch) -> TwoViews:
        views = plain_views(raw)
        if raw.segment_B[0] >= 16:
            views.q.rgb_B3THW[0] = float("nan")
        return views

    with pytest.raises(NonFiniteError, match=r"step 3: loss nan.*\[16, 17"):
        run(tiny_config(), tmp_path, augment=poisoned)
    saved = json.loads((tmp_path / "nonfinite-rank0.json").read_text())
    assert saved["step"] == 3 and saved["segments"] == list(range(16, 24))
    assert checkpoints(tmp_path / "checkpoints") == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": {"rgb_width": 0.125}}, r"model.rgb_width was 0.0625, is 0.125"),
        ({"loss": {"local_motion": False}}, r"loss.local_motion was True, is False"),
        ({"optim": {"lr": 0.07}}, r"optim.lr was 0.05, is 0.07"),
        ({"epochs": 3}, "epochs was 2, is 3"),
    ],
)
def test_a_checkpoint_of_another_run_is_refused(stopped: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        run(tiny_config(**changes), stopped)


def test_a_changed_world_size_is_refused(stopped: Path) -> None:
    path = checkpoints(stopped / "checkpoints")[-1]
    torch.save(read_checkpoint(path) | {"world_size": 4}, path)
    with pytest.raises(CheckpointError, match=r"written by 4 processes and this run has 1"):
        run(tiny_config(), stopped)


@pytest.mark.parametrize(
    ("finished", "damage"),
    [(False, flip_a_bit), (True, flip_a_bit), (False, lambda content: content[:1000]), (True, lambda content: b"")],
)
def test_a_damaged_checkpoint_is_put_aside_and_the_one_before_taken(
    whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], finished: bool, damage: Callable[[bytes], bytes]
) -> None:
    """So it is, too, with the last checkpoint of a finished run whose record was lost with it."""
    parts = tmp_path / "parts"
    if finished:
        shutil.copytree(whole, parts)
    else:
        run(OFTEN, parts, stop_after=3)
    *_, before, last = checkpoints(parts / "checkpoints")
    last.write_bytes(damage(last.read_bytes()))
    assert run(OFTEN, parts) == Finished(8, stopped=False)
    said = capsys.readouterr().err
    assert f"{last} is damaged: " in said and f"; the run goes on from {before.name}\n" in said
    assert losses(parts) == losses(whole)
    expected, found = (checkpoints(folder / "checkpoints") for folder in (whole, parts))
    assert [path.name for path in expected] == [path.name for path in found]
    assert same(read_checkpoint(expected[-1])["model"], read_checkpoint(found[-1])["model"])
    assert not list((parts / "checkpoints").glob(".*")), "what was put aside goes with the next checkpoint"


def test_a_damaged_only_checkpoint_is_said_and_the_run_begins_anew(
    stopped: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = checkpoints(stopped / "checkpoints")[-1]
    path.write_bytes(flip_a_bit(path.read_bytes()))
    assert run(tiny_config(), stopped) == Finished(8, stopped=False)
    assert "the run goes on from its beginning" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changes", "world", "message"),
    [
        ({"batch_size": 8}, World(0, 3, torch.device("cpu")), "batch_size 8 does not divide into 3 processes"),
        ({"bn_splits": 3}, ALONE, "8 clips does not divide into pretrain.bn_splits 3"),
        ({"bn": "sync"}, World(0, 2, torch.device("cpu")), "sync needs CUDA"),
    ],
)
def test_batches_that_do_not_divide_are_refused(
    tmp_path: Path, changes: dict[str, Any], world: World, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        run(tiny_config(**changes), tmp_path, world=world)


def test_bfloat16_on_a_cpu_that_gets_it_wrong_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mscl.training.precision.gradient_error", lambda dtype: float("nan"))
    with pytest.raises(ConfigError, match="pretrain.precision is bf16"):
        run(tiny_config(precision="bf16"), tmp_path)


def test_queue_and_batch_must_divide() -> None:
    with pytest.raises(ValueError, match="queue_size 30 is not divisible by batch_size 8"):
        tiny_config(loss={"queue_size": 30})


def test_moco_is_a_configuration(tmp_path: Path) -> None:
    config = tiny_config(loss={"flow": False}, key_momentum_schedule="constant")

    def rgb_only(raw: RawBatch) -> TwoViews:
        from mscl.views import View

        views = plain_views(raw)
        return TwoViews(View(views.q.rgb_B3THW), View(views.k.rgb_B3THW))

    run(config, tmp_path, augment=rgb_only)
    row = read_metrics(tmp_path / "metrics.jsonl")[-1]
    assert row["loss"] == row["rgb"] and "flow" not in row and row["key_momentum"] == 0.9
