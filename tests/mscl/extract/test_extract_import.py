"""Flow pictures of others through the real extract stage: the fields of the store are those of the pictures."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from mscl.config import ExperimentConfig, load_config
from mscl.demo.dataset import write_demo_dataset
from mscl.errors import DataError
from mscl.extract.stage import EXTRACT
from mscl.ingest.stage import INGEST
from mscl.pipeline import execute
from mscl.stage.contract import Outcome, Stage
from storage.errors import StorageError
from storage.flow_store import FlowReader
from storage.frame_store import FrameReader
from storage.manifest import read_manifest
from storage.result_folder import Result
from storage.workspace import Workspace
from tests.tiny import Listening

BOUND = 20


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = write_demo_dataset(tmp_path_factory.mktemp("demo"), train_per_class=1, test_per_class=1).videos
    for folder in sorted(made.iterdir())[2:]:
        for video in folder.iterdir():
            video.unlink()
        folder.rmdir()
    return made


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One for all, so that videos are looked at once."""
    return tmp_path_factory.mktemp("workspace")


def grey_of(video: str, frame: int) -> np.ndarray:
    """(2, 64, 64): x and y as a tool would have written them; every video and frame has its own."""
    rng = np.random.default_rng([len(video), *video.encode(), frame])
    return np.repeat(np.repeat(rng.integers(0, 256, (2, 4, 4), dtype=np.uint8), 16, axis=1), 16, axis=2)


def write_pictures(root: Path, videos: Path, *, name: str, first: int, count: int, by_class: bool = True) -> None:
    for path in sorted(videos.rglob("*.mp4")):
        video = path.relative_to(videos).as_posix()
        for index in range(count):
            for axis, grey in zip("xy", grey_of(video, index), strict=True):
                folder = root / (Path(video).with_suffix("") if by_class else path.stem)
                target = folder / name.format(axis=axis, uv={"x": "u", "y": "v"}[axis], number=first + index)
                if name.startswith("../"):
                    target = root / {"x": "u", "y": "v"}[axis] / path.stem / f"frame{first + index:06d}.png"
                target.parent.mkdir(parents=True, exist_ok=True)
                assert cv2.imwrite(str(target), grey)


def extract(
    workspace: Path, videos: Path, *overrides: str, progress: Listening | None = None
) -> tuple[Outcome, Outcome]:
    config: ExperimentConfig = load_config(
        "demo",
        [f"data.root={videos}", "runtime.workers=1", "flow.method=denseflow", "clip.stride=1", *overrides],
    )
    place = Workspace(workspace)
    ingest = execute(INGEST, place, config, {})
    return ingest, execute(EXTRACT, place, config, {"ingest": ingest.result}, progress=progress)


@pytest.mark.parametrize(
    ("name", "first", "span", "by_class", "quantiser", "most_px"),
    [
        ("flow_{axis}_{number:05d}.png", 1, 1, True, "int16_16", BOUND),  # MMAction's raw frames
        # denseflow -s=8, without class folders
        ("flow_{axis}_p8_{number:05d}.png", 0, 8, False, "int16_16", BOUND),
        # u/<video>/frame000001, as the public UCF101 archives; in a store that holds 127/8 px
        ("../{uv}", 1, 1, True, "int8_8", 15.875),
    ],
)
def test_the_fields_of_the_store_are_those_of_the_pictures(
    videos: Path, workspace: Path, tmp_path: Path, name: str, first: int, span: int, by_class: bool, quantiser: str,
    most_px: float,
) -> None:  # fmt: skip
    frames = _frames(videos)
    write_pictures(tmp_path / "flow", videos, name=name, first=first, count=frames - span, by_class=by_class)
    listening = Listening()
    ingest, outcome = extract(
        workspace, videos, f"flow.pictures={tmp_path / 'flow'}", f"flow.span_frames={span}", "flow.gap_frames=2",
        f"flow.quantiser={quantiser}", progress=listening,
    )  # fmt: skip
    manifest = read_manifest(ingest.result.folder / "manifest.parquet").ok()
    reader = FlowReader(outcome.result.folder / "flow.zarr")
    frame_reader = FrameReader(outcome.result.folder / "frames")
    assert len(manifest) == 4
    for segment, row in enumerate(manifest.rows()):
        count, height, width = reader.valid(segment)
        assert (count, height, width) == (-(-(frames - span) // 2), 64, 64)
        expected = np.stack([grey_of(row.video, 2 * j).transpose(1, 2, 0) for j in range(count)]) * (40 / 255) - BOUND
        expected = expected.clip(-most_px, most_px)
        assert (
            np.abs(reader.clip(segment, range(count)) - expected).max()
            <= 0.5 / int(quantiser.rpartition("_")[2]) + 1e-4
        )
        assert frame_reader.num_frames(segment) == count
    assert outcome.result.record.config["flow"]["pictures"] == str(tmp_path / "flow")
    clipped = outcome.result.record.metrics.get("clipped", 0)
    said = [text for text in listening.said if "flow.quantiser" in text]
    assert (clipped > 0) == (most_px < BOUND) == bool(said)
    if said:
        assert said[0].startswith(f"{clipped:,} components of flow vectors are over 15.9 px, the most that flow.q")
        assert said[0].endswith("int16_16 holds 2,048 px")


def test_pictures_of_another_step_say_what_to_set(videos: Path, workspace: Path, tmp_path: Path) -> None:
    write_pictures(tmp_path / "f", videos, name="flow_{axis}_{number:05d}.png", first=1, count=_frames(videos) - 1)
    with pytest.raises(DataError, match=r"each spans 1, and flow.span_frames is 8; set flow.span_frames=1"):
        extract(workspace, videos, f"flow.pictures={tmp_path / 'f'}", "flow.span_frames=8")


def test_a_video_without_pictures_and_a_folder_that_is_none_are_named(
    videos: Path, workspace: Path, tmp_path: Path
) -> None:
    (tmp_path / "f").mkdir()
    with pytest.raises(StorageError, match=r"no flow pictures of .*mp4 in .*looked for the folders"):
        extract(workspace, videos, f"flow.pictures={tmp_path / 'f'}", "flow.span_frames=1")
    with pytest.raises(DataError, match=r"flow.pictures .*gone is no folder"):
        extract(workspace, videos, f"flow.pictures={tmp_path / 'gone'}")
    with pytest.raises(DataError, match=r"flow.pictures is not set"):
        extract(workspace, videos)
    with pytest.raises(DataError, match=r"set flow.method=denseflow"):
        extract(workspace, videos, "flow.method=dis", f"flow.pictures={tmp_path / 'f'}")


def test_other_methods_keep_their_keys() -> None:
    settings = EXTRACT.settings(load_config("demo", ["flow.method=dis"]))["flow"]
    assert "pictures" not in settings and settings["method"] == "dis"


@pytest.mark.parametrize(
    ("preset", "backend", "mark"),
    [("balanced", "cpp", 3), ("balanced", "triton", 3), ("opencv", "cpp", None), ("opencv", "triton", 2)],
)
def test_the_key_knows_what_tvl1_computes_otherwise_now(
    monkeypatch: pytest.MonkeyPatch, preset: str, backend: str, mark: int | None
) -> None:
    """Flow of before is not taken for that of now, and what is the same keeps its key."""
    monkeypatch.setattr("mscl.extract.stage.resolve_backend", lambda name, device: backend)
    settings = EXTRACT.settings(load_config("demo", [f"flow.preset={preset}"]))
    assert settings.get("tvl1") == mark


def test_flow_of_a_gpu_serves_a_machine_without_unless_another_backend_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, here = Workspace(tmp_path), "triton"
    monkeypatch.setattr("mscl.extract.stage.resolve_backend", lambda name, device: here if name == "auto" else name)

    def made(stage: Stage, config: ExperimentConfig, inputs: dict[str, Result]) -> Result:
        key = "1111" if stage is INGEST else stage.key(config, inputs)
        with place.claim(stage.name, key):
            return place.commit(
                stage.name, key, version=1, config={}, inputs={name: one.key for name, one in inputs.items()},
                metrics={}, timings={},
            )  # fmt: skip

    config = load_config("demo")
    ingest = {"ingest": made(INGEST, config, {})}
    of_gpu = made(EXTRACT, config, ingest)
    here = "cpp"
    assert EXTRACT.find(place, config, ingest) == of_gpu
    assert EXTRACT.find(place, load_config("demo", ["flow.preset=fast"]), ingest) is None
    assert EXTRACT.find(place, load_config("demo", ["flow.backend=cpp"]), ingest) is None
    own = made(EXTRACT, config, ingest)
    assert own.key != of_gpu.key and EXTRACT.find(place, config, ingest) == own


def test_the_key_knows_the_pictures(videos: Path, tmp_path: Path) -> None:
    config = load_config("demo", ["flow.method=denseflow", f"flow.pictures={tmp_path}"])
    found = []
    for count in (2, 3):
        write_pictures(tmp_path, videos, name="flow_{axis}_{number:05d}.png", first=1, count=count)
        found.append(EXTRACT.settings(config))
    assert found[0] != found[1] and found[0]["flow"] == found[1]["flow"]


def test_the_key_knows_the_weights_of_raft(tmp_path: Path) -> None:
    assert "raft_weights" not in EXTRACT.settings(load_config("demo", ["flow.method=raft_small"]))
    weights = tmp_path / "raft.pth"
    config = load_config("demo", ["flow.method=raft_small", f"flow.raft_weights={weights}"])
    found = []
    for content in (b"1", b"2"):
        weights.write_bytes(content)
        found.append(EXTRACT.settings(config))
    assert found[0] != found[1] and found[0]["flow"] == found[1]["flow"]


def _frames(videos: Path) -> int:
    import av

    with av.open(str(next(videos.rglob("*.mp4")))) as container:
        return sum(1 for _ in container.decode(video=0))
