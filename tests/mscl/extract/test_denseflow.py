"""Import of flow pictures: closed form of the grey values, and what is missing is named."""

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from mscl.config import FlowConfig
from mscl.errors import DataError
from mscl.extract.denseflow import FlowPictures, find_flow_pictures, refuse_shared_pictures
from mscl.extract.picture_marks import pictures_mark
from mscl.extract.shard import check_flow_pictures
from mscl.extract.video_pass import Segment
from storage.errors import DamagedError, StorageError


def read_all(folder: Path, *, bound_px: float = 20.0) -> np.ndarray:
    pictures = FlowPictures(folder, bound_px=bound_px)
    return np.stack([pictures.field(index) for index in range(len(pictures))])


def write_pictures(folder: Path, grey_M2HW: np.ndarray, *, layout: str, end: str = "png") -> None:
    for number, pair in enumerate(grey_M2HW, start=1):
        for component, grey in zip("xy", pair, strict=True):
            name = (
                f"flow_{component}_{number:05d}.{end}" if layout == "flat" else f"flow_{component}/{number:05d}.{end}"
            )
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            assert cv2.imwrite(str(folder / name), grey)


@pytest.mark.parametrize("layout", ["flat", "folders"])
def test_grey_values_are_pixels(tmp_path: Path, layout: str) -> None:
    grey = np.random.default_rng(0).integers(0, 256, (12, 2, 5, 7), dtype=np.uint8)
    grey[0, 0, 0, 0], grey[0, 1, 0, 0] = 255, 0
    write_pictures(tmp_path, grey, layout=layout)
    fields = read_all(tmp_path, bound_px=20)
    assert fields.shape == (12, 5, 7, 2) and fields.dtype == np.float32
    np.testing.assert_allclose(fields, grey.transpose(0, 2, 3, 1) * (40 / 255) - 20, atol=1e-5)
    assert fields[0, 0, 0].tolist() == pytest.approx([20, -20])
    np.testing.assert_allclose(read_all(tmp_path, bound_px=10), fields / 2, atol=1e-5)


def test_jpeg_pictures_give_the_plain_field_back(tmp_path: Path) -> None:
    """A constant field survives JPEG: 128 is +.078 px at bound 20, the known offset of this habit."""
    write_pictures(tmp_path, np.full((2, 2, 16, 16), 128, np.uint8), layout="flat", end="jpg")
    np.testing.assert_allclose(read_all(tmp_path), 20 / 255, atol=1e-5)


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="not a folder"):
        read_all(tmp_path / "absent")
    with pytest.raises(StorageError, match="holds no flow pictures"):
        read_all(tmp_path)
    with pytest.raises(StorageError, match="positive"):
        read_all(tmp_path, bound_px=0)
    write_pictures(tmp_path, np.zeros((3, 2, 4, 4), np.uint8), layout="flat")
    (tmp_path / "flow_y_00002.png").unlink()
    with pytest.raises(DamagedError, match="field 2 are missing"):
        read_all(tmp_path)
    (tmp_path / "flow_y_00002.png").write_bytes(b"no picture")
    with pytest.raises(DamagedError, match="flow_y_00002"):
        read_all(tmp_path)
    assert cv2.imwrite(str(tmp_path / "flow_y_00002.png"), np.zeros((5, 4), np.uint8))
    with pytest.raises(DamagedError, match=r"\(5, 4\) px"):
        read_all(tmp_path)


def test_a_name_with_a_point_has_its_own_pictures(tmp_path: Path) -> None:
    for name in ("rec", "rec.05"):
        write_pictures(tmp_path / "a" / name, np.zeros((2, 2, 4, 4), np.uint8), layout="flat")
    assert find_flow_pictures(tmp_path, "a/rec.05").folder.name == "rec.05"
    assert find_flow_pictures(tmp_path, "a/rec.mp4").folder.name == "rec"


def test_namesakes_in_two_classes_do_not_share_pictures(tmp_path: Path) -> None:
    write_pictures(tmp_path / "001", np.zeros((2, 2, 4, 4), np.uint8), layout="flat")
    refuse_shared_pictures(tmp_path, ["run/001.mp4"])
    with pytest.raises(StorageError, match=r"001 would hold the flow pictures of run/001\.mp4 and of walk/001\.avi"):
        refuse_shared_pictures(tmp_path, ["run/001.mp4", "walk/001.avi"])
    (tmp_path / "walk" / "001").mkdir(parents=True)
    refuse_shared_pictures(tmp_path, ["run/001.mp4", "walk/001.avi"])


def test_pictures_without_their_first_ones_are_refused(tmp_path: Path) -> None:
    """Each field would be of a frame before its own."""
    write_pictures(tmp_path, np.zeros((9, 2, 4, 4), np.uint8), layout="flat")
    segment = Segment(tmp_path / "a.mp4", 0, 10, 4, 4, 1, "a.mp4", 10)
    flow = FlowConfig(method="denseflow", span_frames=1)
    check_flow_pictures(FlowPictures(tmp_path), segment, flow)
    for axis in "xy":
        (tmp_path / f"flow_{axis}_00001.png").unlink()
    with pytest.raises(DataError, match=r"begins with picture 2 and holds 1 fewer than 10 frames give"):
        check_flow_pictures(FlowPictures(tmp_path), segment, flow)


@pytest.mark.parametrize("layout", ["flat", "folders"])
def test_the_mark_tells_pictures_that_were_made_again(tmp_path: Path, layout: str) -> None:
    root, other = tmp_path / "flow", np.full((5, 2, 9, 9), 7, np.uint8)
    for name in ("a", "b"):
        write_pictures(root / "run" / name, np.zeros((4, 2, 4, 4), np.uint8), layout=layout)
    before = pictures_mark(root)
    assert pictures_mark(shutil.copytree(root, tmp_path / "copy")) == before
    (root / "README").touch()
    (root / "above").symlink_to(root)
    assert pictures_mark(root) == before
    write_pictures(root / "run" / "b", other[:4], layout=layout)  # under the same names
    again = pictures_mark(root)
    write_pictures(root / "run" / "b", other, layout=layout)
    assert len({before, again, pictures_mark(root)}) == 3
