"""Manifest, screening, motion statistics and features: what is written is what is read."""

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from storage.errors import DamagedError, StorageError
from storage.features import read_features, write_features
from storage.manifest import SegmentRow, read_manifest, write_manifest
from storage.motion_store import MotionReader, MotionStats, MotionWriter
from storage.screen_table import ScreenRow, read_screen, write_screen

ROWS = [
    SegmentRow("a", "run/a.avi", "run", 1, "train", 90, 0, 25.0, 240, 320, 0, 12345, "ab" * 32),
    SegmentRow("b", "jump/b.avi", "jump", 0, "test", 12, 0, 29.97, 320, 240, 90, 2**40, "cd" * 32, "truncated", "late"),
    SegmentRow("c", "jump/ü ç.avi", "jump", 0, "val", verdict="unreadable", reason="no video stream"),
    SegmentRow("d", "d.avi", split="train", num_frames=8),
]


def test_manifest_gives_back_its_rows(tmp_path: Path) -> None:
    path = tmp_path / "manifest.parquet"
    write_manifest(path, ROWS)
    manifest = read_manifest(path)
    assert list(manifest.rows()) == ROWS and len(manifest) == 4
    assert manifest.classes == ["jump", "run"]
    assert manifest.row(1) == ROWS[1]
    assert [row.segment_id for row in manifest.ok().rows()] == ["a", "b", "d"]
    assert manifest.ok().classes == ["jump", "run"]
    assert manifest.column("num_frames").dtype == np.int32
    assert manifest.column("video").tolist() == [row.video for row in ROWS]
    assert list(manifest.select([3, 0]).rows()) == [ROWS[3], ROWS[0]]
    assert list(manifest.select(manifest.column("split") == "train").rows()) == [ROWS[0], ROWS[3]]
    assert len(manifest.select([])) == 0
    for call in (lambda: manifest.row(4), lambda: manifest.column("weight"), lambda: manifest.select([True])):
        with pytest.raises(StorageError):
            call()


def test_manifest_refuses_contradictions(tmp_path: Path) -> None:
    path = tmp_path / "manifest.parquet"
    with pytest.raises(StorageError, match="not unique"):
        write_manifest(path, [ROWS[0], ROWS[0]], classes=["jump", "run"])
    with pytest.raises(StorageError, match="does not fit the 1 classes"):
        write_manifest(path, ROWS, classes=["jump"])
    with pytest.raises(StorageError, match="wrong kind"):
        write_manifest(path, [replace(ROWS[3], num_frames="many")])  # type: ignore[arg-type]
    assert not path.exists()
    write_manifest(path, [], classes=["x"])
    assert len(read_manifest(path)) == 0 and read_manifest(path).classes == ["x"]


def test_hundred_thousand_segments_open_within_a_second(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows = [SegmentRow(f"video{i:06d}", f"class{i % 400}/video{i:06d}.mp4", num_frames=300) for i in range(100_000)]
    write_manifest(tmp_path / "m", rows)
    starts = tuple(range(0, 90, 3))
    scores = tuple(rng.random(90).astype(np.float32).tolist())
    write_screen(tmp_path / "s", [ScreenRow(i, "chosen", "", 90, starts, scores) for i in range(100_000)])
    spent_seconds = []
    for _ in range(3):  # CPU time and the best of three: other processes must not decide
        begun = time.process_time()
        manifest = read_manifest(tmp_path / "m").ok()
        screen = read_screen(tmp_path / "s")
        spent_seconds.append(time.process_time() - begun)
    assert min(spent_seconds) < 1
    assert len(manifest) == len(screen) == 100_000
    assert screen.chosen(99_999).tolist() == list(starts)


def test_screen_gives_back_its_rows(tmp_path: Path) -> None:
    rows = [
        ScreenRow(0, "chosen", "", 3, (0, 2), (0.5, 0.25, 1.0)),
        ScreenRow(1, "no_motion", "largest magnitude .01 px is below .05", 2, (), (0.0, 0.0)),
        ScreenRow(2, "too_short", "3 fields, a clip needs 57"),
    ]
    write_screen(tmp_path / "s", rows)
    screen = read_screen(tmp_path / "s")
    assert list(screen.rows()) == rows
    assert [screen.chosen(i).tolist() for i in range(3)] == [[0, 2], [], []]
    assert screen.scores(0).tolist() == [0.5, 0.25, 1.0]
    assert screen.verdicts.tolist() == ["chosen", "no_motion", "too_short"]
    with pytest.raises(StorageError, match="does not exist"):
        screen.chosen(3)
    with pytest.raises(StorageError, match="in order"):
        write_screen(tmp_path / "t", rows[1:])


@pytest.mark.parametrize("kind", ["flip", "cut", "empty", "missing", "other"])
def test_damaged_tables_are_named(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "manifest.parquet"
    write_manifest(path, ROWS)
    content = bytearray(path.read_bytes())
    if kind == "missing":
        path.unlink()
    elif kind == "other":
        write_screen(path, [])
    else:
        content[len(content) // 4] ^= 4
        path.write_bytes({"flip": content, "cut": content[:-9], "empty": b""}[kind])
    with pytest.raises(DamagedError, match=r"manifest\.parquet"):
        read_manifest(path)


def stats(rng: np.random.Generator, count: int) -> MotionStats:
    return MotionStats(*(rng.random(count).astype(np.float32) for _ in range(3)))


def test_motion_reads_back_whole_and_with_zarr(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    entries = [stats(rng, 5), None, stats(rng, 1), stats(rng, 3), stats(rng, 0)]
    folder = tmp_path / "motion.zarr"
    writer = MotionWriter(folder, segments=5, max_fields=5, segments_per_shard=2, attributes={"weight": "rgb_map"})
    files: dict[str, str] = {}
    for shard in (2, 0, 1):
        files |= writer.write(shard, [entries[i] for i in writer.grid.segments_of(shard)]).files
    assert sorted(files) == [f"motion.zarr/parts/0000000{i}" for i in range(3)]
    first = writer.finalise()
    assert writer.finalise() == first
    reader = MotionReader(folder)
    assert len(reader) == 5 and reader.attributes == {"weight": "rgb_map"}
    for index, entry in enumerate(entries):
        count = 0 if entry is None else len(entry.differences)
        assert reader.num_fields(index) == count
        if entry is not None:
            np.testing.assert_array_equal(reader.differences(index), entry.differences)
            np.testing.assert_array_equal(reader.magnitude_mean(index), entry.magnitude_mean)
            np.testing.assert_array_equal(reader.magnitude_p99(index), entry.magnitude_p99)
    group: Any = zarr.open_group(folder, mode="r")
    assert np.isnan(group["differences"][0]).sum() == 0 and np.isnan(group["differences"][1]).all()


def test_motion_refuses_and_names(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    writer = MotionWriter(tmp_path / "m", segments=3, max_fields=4, segments_per_shard=2)
    with pytest.raises(StorageError, match="5 fields, the store 4"):
        writer.write(0, [stats(rng, 5), None])
    with pytest.raises(StorageError, match="2 segments, got statistics of 1"):
        writer.write(0, [None])
    writer.write(0, [stats(rng, 4), None])
    with pytest.raises(DamagedError, match="00000001"):
        writer.finalise()
    path = tmp_path / "m" / "parts" / "00000001"
    writer.write(1, [stats(rng, 4)])
    content = bytearray(path.read_bytes())
    content[-20] ^= 1
    path.write_bytes(content)
    with pytest.raises(DamagedError, match="00000001: stored checksum"):
        writer.finalise()
    with pytest.raises(DamagedError):
        MotionReader(tmp_path / "m")


def test_features_come_back_with_their_names(tmp_path: Path) -> None:
    features_ND = np.random.default_rng(0).normal(size=(3, 8)).astype(np.float32)
    ids = ["a", "ü/ç.avi", "c" * 300]
    write_features(
        tmp_path / "f",
        ids=ids,
        labels=[0, -1, 5],
        split=["train", "test", "val"],
        features_ND=features_ND,
        attributes={"encoder": "x"},
    )
    back = read_features(tmp_path / "f")
    assert back.ids == ids and back.split == ["train", "test", "val"] and back.attributes == {"encoder": "x"}
    assert back.labels_N.tolist() == [0, -1, 5]
    np.testing.assert_array_equal(back.features_ND, features_ND)
    with pytest.raises(StorageError, match="3 ids"):
        write_features(tmp_path / "g", ids=ids, labels=[0], split=["x"] * 3, features_ND=features_ND)
    features_ND[0, 0] = np.nan
    with pytest.raises(StorageError, match="NaN"):
        write_features(tmp_path / "g", ids=ids, labels=[0] * 3, split=["x"] * 3, features_ND=features_ND)
    next((tmp_path / "f" / "features").glob("c.*")).unlink()
    with pytest.raises(DamagedError, match="incomplete"):
        read_features(tmp_path / "f")
