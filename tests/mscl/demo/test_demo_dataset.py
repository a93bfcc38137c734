"""The demo set: the same bytes for a seed, motion as labelled, appearance that says nothing."""

import hashlib
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from mscl.config import DataConfig, DecodeLimits
from mscl.demo.dataset import write_demo_dataset
from mscl.demo.motion import CLASSES, MIDDLE_FRAME, NUM_FRAMES, SIDE_PX, draw_motion, render
from mscl.errors import DataError
from mscl.ingest.annotations import read_annotations
from tests.mscl.written_videos import read_frames


def digests(folder: Path) -> dict[str, str]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_the_same_seed_gives_the_same_bytes_whatever_the_threads(tmp_path: Path) -> None:
    write_demo_dataset(tmp_path / "a", seed=3, train_per_class=3, test_per_class=1, workers=1)
    write_demo_dataset(tmp_path / "b", seed=3, train_per_class=3, test_per_class=1, workers=4)
    write_demo_dataset(tmp_path / "c", seed=4, train_per_class=3, test_per_class=1)
    a, b, c = (digests(tmp_path / name) for name in "abc")
    assert a == b
    videos = [name for name in a if name.endswith(".mp4")]
    assert len(videos) == 4 * len(CLASSES)
    assert len({a[name] for name in videos}) == len(videos)
    assert all(a[name] != c[name] for name in videos)


WRITE = """
import sys
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
def test_the_demo_set_reads_as_ucf101(tmp_path: Path, root: str) -> None:
    write_demo_dataset(tmp_path, train_per_class=5, test_per_class=2)
    found = read_annotations(DataConfig(root=str(tmp_path / root)))
    assert found.format == "ucf101"
    assert found.classes == CLASSES
    assert not found.missing
    for name in CLASSES:
        splits = [sample.split for sample in found.samples if sample.class_name == name]
        assert (splits.count("train"), splits.count("test")) == (5, 2)
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


def test_foreign_content_and_other_settings_are_refused(tmp_path: Path) -> None:
    (tmp_path / "holiday").mkdir()
    (tmp_path / "holiday" / "film.mp4").write_bytes(b"mine")
    with pytest.raises(DataError, match="holds no demo set"):
        write_demo_dataset(tmp_path / "holiday", train_per_class=1, test_per_class=1)
    write_demo_dataset(tmp_path / "demo", train_per_class=1, test_per_class=1)
    with pytest.raises(DataError, match="seed: 0 there, 1 wanted"):
        write_demo_dataset(tmp_path / "demo", seed=1, train_per_class=1, test_per_class=1)
    with pytest.raises(DataError, match="at least 1"):
        write_demo_dataset(tmp_path / "new", train_per_class=0)
    with pytest.raises(DataError, match="is a file"):
        write_demo_dataset(tmp_path / "holiday" / "film.mp4", train_per_class=1, test_per_class=1)


def seen_class(flow_HW2: NDArray[np.float32]) -> str:
    """The class that fits a flow field best: an affine motion fitted to where something moves."""
    moving_HW = np.hypot(*np.moveaxis(flow_HW2, -1, 0)) > 0.4
    y_N, x_N = np.nonzero(moving_HW)
    design = np.stack([np.ones(len(x_N)), x_N - x_N.mean(), y_N - y_N.mean()], axis=1)
    fit, *_ = np.linalg.lstsq(design, flow_HW2[moving_HW], rcond=None)
    reach_px = np.hypot(x_N - x_N.mean(), y_N - y_N.mean()).mean()
    (u, v), divergence, curl = fit[0], (fit[1, 0] + fit[2, 1]) / 2, (fit[1, 1] - fit[2, 0]) / 2
    strengths = {
        "MoveRight": u, "MoveLeft": -u, "MoveDown": v, "MoveUp": -v, "TurnClockwise": curl * reach_px,
        "TurnCounterclockwise": -curl * reach_px, "ZoomIn": divergence * reach_px, "ZoomOut": -divergence * reach_px,
    }  # fmt: skip
    return max(strengths, key=lambda name: strengths[name])


def test_the_motion_seen_by_an_independent_flow_is_the_label() -> None:
    dis = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    dis.setFinestScale(0)
    right = 0
    for number in range(80):
        rng = np.random.default_rng([1, number])
        motion = draw_motion(number % 8, rng)
        frames = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in render(motion, rng)]
        starts = range(motion.first_moving - 1, motion.first_moving + motion.moving_frames - 3, 2)
        flows = [dis.calc(frames[t], frames[t + 2], None) for t in starts]
        seen = Counter(seen_class(flow_HW2) for flow_HW2 in flows if (np.abs(flow_HW2) > 0.4).any(-1).sum() > 20)
        right += [name for name, _ in seen.most_common(1)] == [CLASSES[number % 8]]
    assert right >= 74


def test_the_pose_and_the_looks_at_the_middle_frame_do_not_depend_on_the_class() -> None:
    for number in range(20):
        middles = []
        for label in range(len(CLASSES)):
            rng = np.random.default_rng(number)
            motion = draw_motion(label, rng)
            middles.append((
                *motion.centre_T2[MIDDLE_FRAME], motion.angle_rad_T[MIDDLE_FRAME], motion.radius_px_T[MIDDLE_FRAME]
            ))  # fmt: skip
        assert np.ptp(np.array(middles), axis=0).max() < 1e-9


def test_motion_starts_and_stops_inside_the_video() -> None:
    for number in range(400):
        motion = draw_motion(number % 8, np.random.default_rng(number))
        poses = np.column_stack([motion.centre_T2, motion.angle_rad_T, motion.radius_px_T])
        moves = np.abs(np.diff(poses, axis=0)).max(axis=1) > 1e-9
        first, last = np.flatnonzero(moves)[[0, -1]]
        assert first + 1 == motion.first_moving and last - first + 1 == motion.moving_frames
        assert moves[first : last + 1].all()
        assert 14 <= motion.moving_frames <= 18 and first >= 2 and len(moves) - 1 - last >= 2
