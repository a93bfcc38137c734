"""The motion suite on disk: the same bytes for a seed, parts that read as datasets, sizes that can be encoded."""

import hashlib
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest

from mscl.config import DataConfig, DecodeLimits
from mscl.demo.dataset import SIDE_PX, encode_h264, write_demo_dataset, write_suite
from mscl.demo.parts import DIRECTION, PARTS
from mscl.errors import DataError
from mscl.ingest.annotations import read_annotations
from tests.mscl.written_videos import read_frames

CLASSES = tuple(PARTS[DIRECTION].classes)
NUM_FRAMES = PARTS[DIRECTION].num_frames


def digests(folder: Path) -> dict[str, str]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_the_same_seed_gives_the_same_bytes_whatever_the_threads(tmp_path: Path) -> None:
    write_demo_dataset(tmp_path / "a", seed=3, train_per_class=2, test_per_class=1, workers=1)
    write_demo_dataset(tmp_path / "b", seed=3, train_per_class=2, test_per_class=1, workers=4)
    write_demo_dataset(tmp_path / "c", seed=4, train_per_class=2, test_per_class=1)
    a, b, c = (digests(tmp_path / name) for name in "abc")
    assert a == b
    videos = [name for name in a if name.endswith(".mp4")]
    assert len(videos) == 3 * len(CLASSES)
    assert len({a[name] for name in videos}) == len(videos)
    assert all(a[name] != c[name] for name in videos)


WRITE = """
import sys
from functools import partial
from pathlib import Path
from mscl.demo.dataset import write_demo_dataset
write_demo_dataset(Path(sys.argv[1]), seed=0, train_per_class=5, test_per_class=1, workers=1)
"""


def test_what_lay_in_memory_before_changes_nothing(tmp_path: Path) -> None:
    """Fresh memory is filled with another byte in each process; glibc only, elsewhere the test says less."""
    for fill in ("1", "165", "254"):
        environment = {**os.environ, "MALLOC_PERTURB_": fill}
        subprocess.run([sys.executable, "-c", WRITE, str(tmp_path / fill)], env=environment, check=True, timeout=120)
    assert digests(tmp_path / "1") == digests(tmp_path / "165") == digests(tmp_path / "254")


@pytest.mark.parametrize("root", ["", "videos"])
def test_a_part_reads_as_ucf101(tmp_path: Path, root: str) -> None:
    write_demo_dataset(tmp_path, train_per_class=2, test_per_class=1)
    found = read_annotations(DataConfig(root=str(tmp_path / root)))
    assert found.format == "ucf101"
    assert found.classes == CLASSES
    assert not found.missing
    for name in CLASSES:
        splits = [sample.split for sample in found.samples if sample.class_name == name]
        assert (splits.count("train"), splits.count("test")) == (2, 1)
    groups = {
        split: {s.video.rpartition("_c")[0] for s in found.samples if s.split == split} for split in ("train", "test")
    }
    assert not groups["train"] & groups["test"]


def test_a_video_has_the_promised_form_and_still_stretches(tmp_path: Path) -> None:
    dataset = write_demo_dataset(tmp_path, train_per_class=1, test_per_class=1)
    for path in dataset.videos.rglob("*.mp4"):
        video = read_frames(path, limits=DecodeLimits())
        assert video.frames_NHW3.shape == (NUM_FRAMES, SIDE_PX, SIDE_PX, 3)
        assert video.fps == 25
        change_N = np.abs(np.diff(video.frames_NHW3.astype(float), axis=0)).mean(axis=(1, 2, 3))
        assert change_N[:2].max() < 0.2 < 0.5 < np.median(change_N[10:19])
        assert change_N[-2:].max() < 0.2


def test_a_complete_set_is_left_alone_and_an_interrupted_one_continued(tmp_path: Path) -> None:
    first = write_demo_dataset(tmp_path / "demo", train_per_class=1, test_per_class=1)
    before = digests(first.folder)
    times = {path: path.stat().st_mtime_ns for path in first.videos.rglob("*.mp4")}
    again = write_demo_dataset(tmp_path / "demo", train_per_class=1, test_per_class=1)
    assert first.written and not again.written
    assert times == {path: path.stat().st_mtime_ns for path in first.videos.rglob("*.mp4")}

    (first.folder / "dataset.json").rename(first.folder / "dataset.json.partial")
    next(first.videos.rglob("*.mp4")).unlink()
    assert write_demo_dataset(tmp_path / "demo", train_per_class=1, test_per_class=1).written
    assert digests(first.folder) == before


def test_of_two_at_once_one_writes_and_the_other_finds_it_done(tmp_path: Path) -> None:
    def write(_: int) -> bool:
        return write_demo_dataset(tmp_path / "a", train_per_class=1, test_per_class=1, workers=1).written

    with ThreadPoolExecutor(2) as pool:
        assert sorted(pool.map(write, range(2))) == [False, True]
    assert [path.name for path in (tmp_path / "a").rglob("*") if path.suffix in (".partial", ".tmp")] == []


def test_foreign_content_and_other_settings_are_refused(tmp_path: Path) -> None:
    (tmp_path / "holiday").mkdir()
    (tmp_path / "holiday" / "film.mp4").write_bytes(b"mine")
    with pytest.raises(DataError, match="holds no generated videos"):
        write_demo_dataset(tmp_path / "holiday", train_per_class=1, test_per_class=1)
    write_demo_dataset(tmp_path / "demo", train_per_class=1, test_per_class=1)
    with pytest.raises(DataError, match="seed: 0 there, 1 wanted"):
        write_demo_dataset(tmp_path / "demo", seed=1, train_per_class=1, test_per_class=1)
    with pytest.raises(DataError, match="at least 1"):
        write_demo_dataset(tmp_path / "new", train_per_class=0)
    with pytest.raises(DataError, match="side_px: 64 there, 96 wanted"):
        write_demo_dataset(tmp_path / "demo", train_per_class=1, test_per_class=1, side_px=96)
    with pytest.raises(DataError, match="unknown part 'zoo'.*direction, order, stills, shortcut"):
        write_demo_dataset(tmp_path / "new", part="zoo")
    with pytest.raises(DataError, match="is a file"):
        write_demo_dataset(tmp_path / "holiday" / "film.mp4", train_per_class=1, test_per_class=1)


@pytest.mark.parametrize(("side_px", "instead"), [(65, 66), (30, 32), (2048, 1024), (-1, 32)])
def test_a_side_that_cannot_be_encoded_is_refused_before_anything_is_written(
    tmp_path: Path, side_px: int, instead: int
) -> None:
    with pytest.raises(DataError, match=rf"is {side_px} px.*even sides.* 32 to 1024 px.*give {instead}$"):
        write_demo_dataset(tmp_path / "demo", side_px=side_px)
    assert not (tmp_path / "demo").exists()
    with pytest.raises(DataError, match=r"48x33 px cannot be encoded.*give 48x34"):
        encode_h264(tmp_path / "odd.mp4", iter(()), fps=25, height=33, width=48)


def test_the_suite_is_a_folder_a_part_and_labels_by_kind(tmp_path: Path) -> None:
    made = write_suite(tmp_path, partial(write_demo_dataset, train_per_class=2, test_per_class=1, side_px=32))
    assert list(made) == list(PARTS) == ["direction", "order", "stills", "shortcut"]
    for name, part in made.items():
        found = read_annotations(DataConfig(root=str(part.videos)))
        assert found.classes == tuple(PARTS[name].classes) and len(found.samples) == 24
    kinds = read_annotations(DataConfig(root=str(made["direction"].videos), annotations=str(tmp_path / "kind")))
    assert set(kinds.classes) == {"move", "turn", "zoom"} and not kinds.missing
    for sample in kinds.samples:
        assert str(sample.class_name) in sample.video.lower()
    splits = {sample.video: sample.split for sample in kinds.samples}
    assert splits == {
        s.video: s.split for s in read_annotations(DataConfig(root=str(made["direction"].videos))).samples
    }


def test_a_slower_video_shows_the_same_in_more_frames(tmp_path: Path) -> None:
    made = write_demo_dataset(tmp_path, part="order", train_per_class=1, test_per_class=1, slower=3, side_px=96)
    frames = read_frames(next(made.videos.rglob("*.mp4")), limits=DecodeLimits()).frames_NHW3
    assert frames.shape == (3 * PARTS["order"].num_frames, 96, 96, 3)


def test_what_comes_out_of_a_frame_depends_on_that_frame_alone(tmp_path: Path) -> None:
    """So coding leaves no trace of a motion in single frames; with prediction it would."""
    noise = np.random.default_rng(0).integers(0, 255, (6, 6, 3), dtype=np.uint8)
    texture = cv2.resize(noise, (32, 32), interpolation=cv2.INTER_CUBIC)
    for alone in (True, False):
        shown = []
        for way in (-1, 1):
            film = [np.roll(texture, way * (t - 5), axis=1) for t in range(11)]
            path = tmp_path / f"{alone}{way}.mp4"
            encode_h264(path, iter(film), fps=25, height=32, width=32, each_alone=alone)
            shown.append(read_frames(path, limits=DecodeLimits()).frames_NHW3[5])
        assert np.array_equal(*shown) is alone
