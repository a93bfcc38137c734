"""What would stop training is said before videos are decoded and before flow is computed, with both values."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from mscl.config import ModelConfig, load_config
from mscl.demo.dataset import write_demo_dataset
from mscl.errors import UserError
from mscl.models.encoders import untrained_encoder
from mscl.models.files import EXPORT_NAME, write_encoder
from mscl.pipeline import BY_NAME, execute, refuse_early, run_pipeline, run_stage, stages_for
from mscl.pipeline.repair import repair
from mscl.progress import Silent
from storage.verify import verify_result
from storage.workspace import Workspace

WIDE = ModelConfig(rgb_width=0.25)


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_demo_dataset(tmp_path_factory.mktemp("demo"), train_per_class=1, test_per_class=1).videos


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (["runtime.processes=3"], "batch_size 32 does not divide into 3 processes x 1 micro-batches"),
        (["runtime.processes=8", "pretrain.accumulate=4"], "a micro-batch of 1 clips"),
        (["runtime.nodes=2", "runtime.processes=1"], "runtime.nodes is 2 and runtime.rendezvous is empty"),
        (["runtime.device=cpu", "runtime.processes=2", "pretrain.bn=sync"], "sync needs CUDA"),
        # The rate never came to what `lr` says, with no word.
        (["finetune.optim.warmup_epochs=3", "finetune.epochs=3"], "warmup_epochs 3 must be below finetune.epochs 3"),
        (["retrieve.superclasses={a: [x], b: [y]}"], "superclasses: 'a' has 'x', which is no class of this dataset"),
        (
            ["data.classes=MoveUp,ZoomIn", "probe.superclasses={a: [MoveUp, ZoomIn]}"],
            "all classes are in a",
        ),
    ],
)
def test_settings_that_do_not_fit_stop_the_first_stage(
    videos: Path, tmp_path: Path, overrides: list[str], says: str
) -> None:
    config = load_config("demo", [f"data.root={videos}", *overrides])
    with pytest.raises(UserError, match=says):
        run_pipeline(Workspace(tmp_path), config)
    assert not list(tmp_path.rglob("*.parquet"))


def test_an_encoder_of_another_architecture_stops_the_first_stage(videos: Path, tmp_path: Path) -> None:
    given = write_encoder(untrained_encoder(WIDE, seed=0), WIDE, tmp_path / EXPORT_NAME, card={})
    config = load_config("demo", [f"data.root={videos}", f"pretrain.encoder={given}"])
    with pytest.raises(UserError, match=r"backbone r18 at width 0\.25, and the settings ask for .* at width 0\.125"):
        run_pipeline(Workspace(tmp_path / "w"), config)


def test_videos_shorter_than_a_clip_stop_extraction_and_no_repair(videos: Path, tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    few = [f"data.root={videos}", "data.classes=MoveLeft,ZoomIn", "flow.method=dis", "runtime.workers=1"]
    ingested = {"ingest": execute(BY_NAME["ingest"], workspace, load_config("demo", few), {}).result}
    long = load_config("demo", [*few, "clip.stride=9"])
    with pytest.raises(UserError, match=r"the longest of 4 has \d+ frames and so \d+ fields, .*stride 9 spans 64"):
        run_pipeline(workspace, long)
    assert not list(tmp_path.rglob("flow.zarr"))
    for frees in ("pretrain.encoder=random", "screen.released=true"):
        given = load_config("demo", [*few, "clip.stride=9", frees])
        extracted = run_stage(workspace, given, BY_NAME["extract"], ingested, force=True).result
    # Its record names no clip; the default one, of 57 fields, is longer than these videos.
    next((extracted.folder / "frames").rglob("*")).unlink()
    assert verify_result(extracted.folder, extracted.record)
    assert not repair(workspace, BY_NAME["extract"], extracted.folder, progress=Silent()).reused


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (["runtime.device=cuda", "flow.method=dis"], "runtime.device is cuda, and PyTorch sees no CUDA device here"),
        (["runtime.gpus=3", "flow.method=dis"], "runtime.gpus names 3, and PyTorch sees none here"),
        (["flow.raft_bf16=true"], r"flow\.raft_bf16 is on, which flow\.method tvl1 does not use"),
        (
            ["flow.method=raft_small", "flow.raft_bf16=true", "runtime.device=cpu"],
            r"raft_bf16 is on, and RAFT runs on the CPU",
        ),
        (["flow.method=raft_small", "flow.raft_weights=raft.pth"], r"flow\.raft_weights raft\.pth does not exist"),
        (["pretrain.encoder=none.pth"], r"none\.pth"),
        (["data.group_pattern=zzz"], r"data\.group_pattern 'zzz' gives none of the \d+ videos a group"),
        (["data.test_fraction=0"], "nothing can be scored in the end: no labelled video is in the test split"),
        (["data.classes=MoveRight"], "nothing can be scored in the end: the train split has one class"),
    ],
)
def test_what_must_fail_later_stops_the_first_stage(
    videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, overrides: list[str], says: str
) -> None:
    monkeypatch.setattr("mscl.devices.has_gpu", lambda: False)
    config = load_config("demo", [f"data.root={videos}", "data.format=folders", "finetune.enabled=false", *overrides])
    for refuse in (run_pipeline, refuse_early):
        with pytest.raises(UserError, match=says):
            refuse(Workspace(tmp_path), config)
    assert not list(tmp_path.rglob("*.parquet"))


def test_superclasses_that_leave_one_to_learn_stop_the_first_stage(videos: Path, tmp_path: Path) -> None:
    classes = ("MoveLeft", "MoveRight", "ZoomIn")
    lefts, rights, zooms = (sorted(videos.glob(f"{name}/*.mp4")) for name in classes)
    rows = [(lefts[0], "train"), (rights[0], "train"), (lefts[1], "test"), (zooms[0], "test")]
    lines = [f"{path.relative_to(videos)},{path.parent.name},{split}" for path, split in rows]
    (tmp_path / "list.csv").write_text("\n".join(["video,label,split", *lines]))
    given = [f"data.root={videos}", f"data.annotations={tmp_path / 'list.csv'}", "finetune.enabled=false"]
    config = load_config("demo", [*given, "retrieve.superclasses={move: [MoveLeft, MoveRight], zoom: [ZoomIn]}"])
    workspace = Workspace(tmp_path / "w")
    for _ in range(2):
        with pytest.raises(UserError, match="superclasses move, zoom: the train split has one class"):
            refuse_early(workspace, config)
        execute(BY_NAME["ingest"], workspace, config, {})  # then the manifest is asked


def test_what_cannot_be_scored_can_be_screened(videos: Path, tmp_path: Path) -> None:
    config = load_config("demo", [f"data.root={videos}", "data.format=folders", "data.classes=MoveRight"])
    refuse_early(Workspace(tmp_path), config, stages=stages_for("screen"))
    refuse_early(Workspace(tmp_path), load_config("demo", [f"data.root={videos}", "data.format=unlabelled"]))


def test_a_disk_that_cannot_hold_the_flow_stops_extraction(
    videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = Workspace(tmp_path)
    config = load_config("demo", [f"data.root={videos}", "runtime.workers=1"])
    execute(BY_NAME["ingest"], workspace, config, {})
    refuse_early(workspace, config)
    monkeypatch.setattr("shutil.disk_usage", lambda _path: SimpleNamespace(free=100_000))
    with pytest.raises(UserError, match=r"extract needs at least 0\.\d MB for these videos, and 0\.1 MB are free in"):
        run_pipeline(workspace, config)
    assert not list(tmp_path.rglob("flow.zarr"))
