"""Motion scores of a small set with known flow: list, filter, files."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.csv
import pyarrow.parquet
import pytest

from mscl.errors import UserError
from mscl.motion.score_list import filtered, score_list, write_list
from storage.errors import DamagedError, StorageError
from storage.layout import Ingested, Measured
from storage.manifest import SegmentRow, write_manifest
from storage.motion_store import MotionStats, MotionWriter
from storage.record import content_of
from storage.splits import write_splits
from storage.workspace import Workspace

CLASSES = ("pan", "run")


@pytest.fixture
def place(tmp_path: Path) -> Workspace:
    """Two segments of a video that pans, one of a video that runs; the second one moves twice as much."""
    place = Workspace(tmp_path / "w")
    rows = [("pan/a.mp4", 0, 20), ("pan/a.mp4", 20, 60), ("run/b.mp4", 0, 40)]
    with place.claim("ingest", "1" * 16) as folder:
        segments = [
            SegmentRow(
                segment_id=f"{video}#{first // 20}", video=video, class_name=video[:3], label=CLASSES.index(video[:3]),
                split="train", num_frames=count, first_frame=first, fps=25.0, height=48, width=64, rotation=0,
                size_bytes=1, digest="0" * 64, verdict="ok", reason="",
            )
            for video, first, count in rows
        ]  # fmt: skip
        write_manifest(Ingested(folder).manifest_path, segments, classes=CLASSES)
        ingest = place.commit("ingest", "1" * 16, version=3, config={}, inputs={}, metrics={}, timings={})
    with place.claim("motion", "2" * 16) as folder:
        writer = MotionWriter(Measured(folder).motion, segments=3, max_fields=2)
        ramps = [np.array([value, 3 * value], np.float32) for value in (1.0, 2.0, 4.0)]
        writer.write(0, [MotionStats(ramp, ramp, 2 * ramp, ramp / 20, ramp / 2, ramp / 4) for ramp in ramps])
        writer.finalise()
        place.commit(
            "motion", "2" * 16, version=3, config={}, inputs={"ingest": "1" * 16}, metrics={}, timings={},
            contents={"ingest": content_of(ingest.record)},
        )  # fmt: skip
    return place


def test_a_row_a_segment_and_a_row_a_video(place: Workspace) -> None:
    table, key, _ = score_list(place, "", by="segment")
    assert key == "2" * 16 and table.column("mean_px").to_pylist() == [2, 4, 8]
    assert table.column("peak_px").to_pylist() == [6, 12, 24]
    np.testing.assert_allclose(table.column("moving").to_numpy(), [0.1, 0.2, 0.4], rtol=1e-6)
    videos, _, _ = score_list(place, "2222", by="video")
    assert videos.column("video").to_pylist() == ["pan/a.mp4", "run/b.mp4"]
    assert videos.column("mean_px").to_pylist() == [(20 * 2 + 60 * 4) / 80, 8]  # by frames
    assert videos.column("peak_px").to_pylist() == [12, 24] and videos.column("num_frames").to_pylist() == [80, 40]


def test_scores_of_another_set_in_their_place_are_not_listed(place: Workspace) -> None:
    motion = place.by_key("2222")
    numbers = next(path for path in Measured(motion.folder).motion.glob("magnitude_mean/c*") if path.is_file())
    numbers.write_bytes(next(numbers.parents[1].glob("magnitude_p99/c*")).read_bytes())
    with pytest.raises(DamagedError, match="mscl verify 2222222222222222 --repair --workspace"):
        score_list(place, "", by="segment")


def test_scores_of_videos_that_were_replaced_since_are_not_listed(place: Workspace) -> None:
    folder = place.folder("ingest", "1" * 16)
    rows = [*Ingested(folder).manifest().rows()]
    swapped = [replace(row, video=other.video) for row, other in zip(rows, rows[::-1], strict=True)]
    write_manifest(Ingested(folder).manifest_path, swapped, classes=CLASSES)
    place.commit("ingest", "1" * 16, version=3, config={}, inputs={}, metrics={}, timings={})
    with pytest.raises(UserError, match="motion 2222222222222222 was made from another ingest 1111111111111111"):
        score_list(place, "", by="segment")


def test_of_several_official_splits_the_first_is_taken_and_said(place: Workspace) -> None:
    assert score_list(place, "", by="segment")[2] == ""
    assert score_list(place, "", by="segment", official_split=1)[0].num_rows == 3
    with pytest.raises(StorageError, match="the dataset has no official split 2, but one division alone"):
        score_list(place, "", by="segment", official_split=2)
    ingest = place.by_key("1" * 16).folder
    write_splits(ingest, {1: ["train", "train", "train"], 3: ["test", "test", "unused"]})
    table, _, note = score_list(place, "", by="video")
    assert table.column("split").to_pylist() == ["train", "train"]
    assert note == "train and test are those of official split 1; --official-split takes another (3)"
    table, _, note = score_list(place, "", by="video", official_split=3)
    assert table.column("split").to_pylist() == ["test", "unused"] and not note
    with pytest.raises(StorageError, match="no split 2; its official splits are 1, 3"):
        score_list(place, "", by="video", official_split=2)


def test_bounds_and_classes(place: Workspace) -> None:
    table, _, _ = score_list(place, "", by="segment")
    kept = filtered(table, at_least=["mean_px=4"], at_most=["camera_px=3"], classes=[])
    assert kept.column("segment_id").to_pylist() == ["pan/a.mp4#1"]
    assert filtered(table, at_least=[], at_most=[], classes=["run"]).num_rows == 1
    for at_least, classes, says in (
        (["mean_px=9"], [], r"--min mean_px=9 leaves none of 3: their mean_px is 2 to 8"),
        (["mean=9"], [], "give SCORE=VALUE; scores: mean_px"),
        (["mean_px=x"], [], "'x' is no number"),
        ([], ["runs"], "did you mean 'run'"),
    ):
        with pytest.raises(UserError, match=says):
            filtered(table, at_least=at_least, at_most=[], classes=classes)
    with pytest.raises(UserError, match=r"ingest 1+ is no result of motion"):
        score_list(place, "1111", by="segment")


def test_files_that_others_read(place: Workspace, tmp_path: Path) -> None:
    table, _, _ = score_list(place, "", by="segment")
    for name in ("all.parquet", "all.csv", "all.txt"):
        write_list(tmp_path / name, table)
    assert pyarrow.parquet.read_table(tmp_path / "all.parquet").equals(table)
    assert pyarrow.csv.read_csv(tmp_path / "all.csv").column("peak_px").to_pylist() == [6, 12, 24]
    assert (tmp_path / "all.txt").read_text() == "pan/a.mp4 pan\nrun/b.mp4 run\n"
    with pytest.raises(UserError, match=r"give \.parquet, \.csv or \.txt"):
        write_list(tmp_path / "all.doc", table)
