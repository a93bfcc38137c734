"""`mscl.embed(videos, encoder)` with nothing else gives the features that the pipeline stores for these videos."""

import shutil
import warnings
from pathlib import Path

import pytest

import mscl
from mscl.array_types import Floats
from mscl.config import ExperimentConfig, load_config
from mscl.demo.dataset import write_demo_dataset
from mscl.pipeline import BY_NAME, PIPELINE, run_pipeline
from mscl.score.videos import Videos
from storage.workspace import Workspace
from tests.mscl.cosines import least_cosine

QUICK = [
    "pretrain.encoder=random",
    "embed.controls=false",
    "flow.method=dis",
    "runtime.workers=2",
    "runtime.device=cpu",
]


def stored_and_embedded(config: ExperimentConfig, place: Path) -> tuple[Videos, Floats, Floats]:
    """The videos of a set, the features that the pipeline stores for them, and those of `mscl.embed`."""
    workspace = Workspace(place)
    run_pipeline(workspace, config, stages=PIPELINE[: PIPELINE.index(BY_NAME["embed"]) + 1])
    index = mscl.open_index(workspace)
    encoder = mscl.load_encoder(index.pretrain.folder / index.pretrain.record.metrics["checkpoint"])
    assert encoder.recipe == config.flow.recipe and encoder.clip == config.clip
    videos = Videos.of(index.manifest)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", ".*shorter than a clip")  # as the generated ones are for the paper's clips
        embedded = mscl.embed([Path(index.root) / name for name in videos.names], encoder)
    assert not embedded.failed
    return videos, videos.mean(index.features.features_ND), embedded.features_ND


def test_an_encoder_at_full_width(tmp_path: Path) -> None:
    """Of generated videos; narrow ones over several segments of a video are in test_pipeline.py and below."""
    root = write_demo_dataset(tmp_path / "demo", train_per_class=1, test_per_class=1).videos
    config = load_config("ucf101", [f"data.root={root}", "data.classes=MoveLeft", *QUICK, "embed.clips=1"])
    videos, stored_VD, embedded_VD = stored_and_embedded(config, tmp_path / "w")
    assert len(videos.video_S) == 2
    assert least_cosine(embedded_VD, stored_VD) > 0.9999


@pytest.mark.parametrize(
    ("preset", "names"),
    [
        ("demo", ["ucf101/PushUps/*", "ucf101/BabyCrawling/*"]),
        pytest.param("ucf101", ["ucf101/PushUps/*", "ucf101/BabyCrawling/*"], marks=pytest.mark.storm),  # full width
    ],
)
def test_real_videos(shared_dir: Path, tmp_path: Path, preset: str, names: list[str]) -> None:
    """Two of each class. Of UCF101 some are longer than a segment: a video has the mean of its segments."""
    for name in names:
        found = sorted((shared_dir / "data" / "videos").glob(name))
        longest = max(found, key=lambda path: path.stat().st_size)
        for path in {found[0], longest}:
            copy = tmp_path / "videos" / path.parent.name / path.name
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, copy)
    segments = ["data.max_segment_seconds=3"] if "ucf101" in names[0] else []
    clips = 1 if preset == "ucf101" else 3
    config = load_config(
        preset, [f"data.root={tmp_path / 'videos'}", "data.format=folders", f"embed.clips={clips}", *QUICK, *segments]
    )
    videos, stored_VD, embedded_VD = stored_and_embedded(config, tmp_path / "w")
    assert len(videos) == 4
    assert (len(videos.video_S) > 4) == ("ucf101" in names[0])
    assert least_cosine(embedded_VD, stored_VD) > 0.9999
