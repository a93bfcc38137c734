"""Frames of whole videos (METHOD D27), and clip spans in source frames."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mscl.config import load_config
from mscl.demo.dataset import encode_h264
from mscl.embedding.config import EmbedConfig
from mscl.errors import ConfigError
from mscl.extract.config import FlowConfig
from mscl.finetune.every_frame import FramesTask, every_frame_recipe, store_every_frame
from mscl.progress import Silent
from mscl.stage.contract import StageRun
from mscl.video.clips import EvalClips
from mscl.video.config import ClipConfig
from mscl.video.file_clips import file_clips
from mscl.video.frame_recipe import EncoderInput
from mscl.video.video_info import inspect_video
from storage.layout import Ingested
from storage.manifest import SegmentRow, write_manifest
from storage.result_folder import Result
from storage.workspace import Workspace

FRAMES = 36
RECIPE = every_frame_recipe(FlowConfig().recipe, 32)
WHOLE = EncoderInput(
    recipe=RECIPE, max_segment_seconds=None, clip=ClipConfig(length=16, stride=1), clips=1, crop_px=32,
    short_side_px=32, sampling="segments",
)  # fmt: skip


@pytest.fixture
def ingested(tmp_path: Path) -> dict[str, Result]:
    """Two segments of one video of 36 frames, the number of each its brightness, and one of the whole of another."""
    root = tmp_path / "videos"
    root.mkdir()
    rows = []
    for name, parts in (("a.mp4", ((0, 20), (20, 16))), ("b.mp4", ((0, FRAMES),))):
        frames = (np.full((32, 48, 3), 20 + 4 * n, np.uint8) for n in range(FRAMES))
        encode_h264(root / name, frames, fps=25, height=32, width=48)
        info = inspect_video(root / name, limits=load_config("demo").data.limits)
        rows += [
            SegmentRow(
                f"{name}#{place}", name, num_frames=count, first_frame=first, fps=25, height=32, width=48,
                size_bytes=info.size_bytes, digest=info.digest,
            )
            for place, (first, count) in enumerate(parts)
        ]  # fmt: skip
    workspace = Workspace(tmp_path / "workspace")
    with workspace.claim("ingest", "key") as folder:
        write_manifest(Ingested(folder).manifest_path, rows)
        return {
            "ingest": workspace.commit(
                "ingest", "key", version=1, config={"data": {"root": str(root)}}, inputs={}, metrics={}, timings={}
            )
        }


def stored(inputs: dict[str, Result], folder: Path) -> tuple[Path, list[int]]:
    """The folder of the frames, and the shards that were written now."""
    written: list[int] = []

    def here(
        function: Callable[..., int], items: Sequence[FramesTask], *, progress: Any, gpus: Sequence[int] = ()
    ) -> Any:
        for item in items:
            written.append(function(item, lambda count: None))
            yield written[-1]

    root = inputs["ingest"].record.config["data"]["root"]
    run = StageRun(folder, load_config("demo", [f"data.root={root}"]), inputs, Silent(), spread=here)
    return store_every_frame(run, RECIPE), written


def test_sixteen_frames_of_a_video_of_36_are_sixteen_and_end_at_its_end(
    ingested: dict[str, Result], tmp_path: Path
) -> None:
    """Every second frame of the gap-2 store would be 14 distinct ones that end at 26."""
    folder, written = stored(ingested, tmp_path / "run")
    assert written == [0] and stored(ingested, tmp_path / "run")[1] == [], "what a stopped run has done stays"
    clips = EvalClips(
        folder / "frames", rows=np.arange(3), labels=np.zeros(3, np.int64), clips=1, length=16, stride=1, crop_px=32,
        short_side_px=32, sampling="segments",
    )  # fmt: skip
    rgb = clips.load(0, np.arange(3)).rgb_BKTHW3.numpy()
    numbers = np.rint((rgb.mean(axis=(1, 3, 4, 5)) - 20) / 4).astype(int).tolist()
    assert numbers[2] == [1, 3, 5, 7, 10, 12, 14, 16, 19, 21, 23, 25, 28, 30, 32, 34]
    assert numbers[1] == list(range(20, 36)) and numbers[0][0] == 0 and numbers[0][-1] == 19
    (of_file,) = file_clips(Path(ingested["ingest"].record.config["data"]["root"]) / "b.mp4", WHOLE)
    np.testing.assert_array_equal(of_file, rgb[2])


def test_a_recipe_of_every_frame_leaves_none_out() -> None:
    assert [RECIPE.num_indices(count) for count in (1, 2, 36)] == [1, 2, 36]
    assert FlowConfig().recipe.num_indices(36) == 14


def test_pictures_out_of_another_store_show_frames_as_far_apart() -> None:
    assert [RECIPE.nearest_stride(stride, gap_frames=2) for stride in (1, 2, 3, 4)] == [1, 1, 2, 2]
    assert FlowConfig(gap_frames=2).recipe.nearest_stride(3, gap_frames=2) == 3


def test_clip_spans_may_be_given_in_source_frames() -> None:
    trained, recipe = ClipConfig(length=8, stride=8), FlowConfig().recipe
    assert EmbedConfig().clip(trained, recipe) == trained
    assert EmbedConfig(stride_frames=6).clip(trained, recipe) == ClipConfig(length=8, stride=3)
    assert RECIPE.stride(3, setting="finetune.stride_frames") == 3
    with pytest.raises(ConfigError, match=r"embed.stride_frames 5 is no multiple of 2: .*\(flow.gap_frames\); take 4"):
        EmbedConfig(stride_frames=5).clip(trained, recipe)
    with pytest.raises(ConfigError, match="finetune.stride_frames 1 .* take 2"):
        recipe.stride(1, setting="finetune.stride_frames")


def test_the_protocols_of_clips_say_their_span_whatever_the_gap() -> None:
    for preset in ("ucf101", "demo", "kinetics400-r18"):
        config = load_config(f"{preset}+finetune-ucf101")
        assert config.finetune.stride_frames == 2 and config.finetune.frames == 16
