"""Flow files, end-point errors and folders of pairs with known flow."""

import struct
from pathlib import Path

import cv2
import numpy as np
import pytest
from moving_frames import shifted_pair

from kernels.errors import KernelInputError
from kernels.evaluate import endpoint_errors, evaluate_folder, evaluate_pair, find_pairs, mean_score
from kernels.flow_files import read_flo


def _write_flo(path: Path, flow_HW2: np.ndarray) -> None:
    height, width, _ = flow_HW2.shape
    path.write_bytes(struct.pack("<fii", 202021.25, width, height) + flow_HW2.astype("<f4").tobytes())


def _write_pair(folder: Path, *, right_px: int = 2, unknown_rows: int = 0) -> None:
    folder.mkdir(parents=True)
    for name, frame in zip(("frame1.png", "frame2.png"), shifted_pair(40, 56, right_px=right_px), strict=True):
        cv2.imwrite(str(folder / name), frame[0, ..., ::-1])
    truth = np.zeros((40, 56, 2), np.float32)
    truth[..., 0] = right_px
    truth[:unknown_rows] = 1.6e9
    _write_flo(folder / "flow.flo", truth)


def _nothing_moves(first: np.ndarray, _: np.ndarray) -> np.ndarray:
    return np.zeros((*first.shape[:3], 2), np.float32)


def test_flo_files_are_read_with_width_first(tmp_path: Path) -> None:
    flow = np.arange(24, dtype=np.float32).reshape(3, 4, 2)
    flow[1, 2] = (2e9, 0)
    flow[2, 3] = np.nan
    _write_flo(tmp_path / "a.flo", flow)
    read, known = read_flo(tmp_path / "a.flo")
    assert known.sum() == 10 and not known[1, 2] and not known[2, 3]
    np.testing.assert_array_equal(read, np.where(known[..., None], flow, 0))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no .flo file"),
        (struct.pack("<fii", 1.0, 2, 2) + bytes(32), "do not start"),
        (struct.pack("<fii", 202021.25, 2, 2) + bytes(31), "44 bytes, and has 43"),
        (struct.pack("<fii", 202021.25, -1, -1) + bytes(8), "-1 x -1"),
        (struct.pack("<fii", 202021.25, 1 << 30, 1 << 30), "1073741824 x"),
    ],
)
def test_files_that_are_no_flow_are_named(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "bad.flo").write_bytes(content)
    with pytest.raises(KernelInputError, match=rf"bad\.flo.*{message}"):
        read_flo(tmp_path / "bad.flo")


def test_endpoint_error_is_the_length_of_the_difference() -> None:
    truth = np.zeros((1, 3, 2), np.float32)
    flow = np.array([[[3, 4], [0, 0], [9, 9]]], np.float32)
    assert endpoint_errors(flow, truth, np.array([[True, True, False]])).tolist() == [5, 0]
    with pytest.raises(KernelInputError, match="no pixel"):
        endpoint_errors(flow, truth, np.zeros((1, 3), bool))
    with pytest.raises(KernelInputError, match="NaN"):
        endpoint_errors(flow * np.nan, truth)
    with pytest.raises(KernelInputError, match=r"\(1, 2, 2\)"):
        endpoint_errors(flow[:, :2], truth)


def test_a_folder_gives_a_score_per_pair_over_known_pixels(tmp_path: Path) -> None:
    _write_pair(tmp_path / "b", right_px=2, unknown_rows=10)
    _write_pair(tmp_path / "a" / "deep", right_px=3)
    results = list(evaluate_folder(tmp_path, _nothing_moves))
    assert [result.score.name for result in results] == ["a/deep", "b"]
    deep, b = (result.score for result in results)
    assert (deep.epe_mean_px, deep.epe_p99_px, deep.zero_epe_px, deep.known) == (3, 3, 3, 1)
    assert (b.epe_mean_px, b.known, b.height, b.width) == (2, 0.75, 40, 56) and b.seconds > 0
    assert mean_score([deep, b]).epe_mean_px == 2.5


def test_pictures_show_frame_truth_and_flow_on_one_scale(tmp_path: Path) -> None:
    _write_pair(tmp_path / "a", right_px=2, unknown_rows=10)
    (result,) = evaluate_folder(tmp_path, _nothing_moves)
    picture = result.picture()
    assert picture.shape == (40, 168, 3) and picture.dtype == np.uint8
    frame, truth, flow = np.split(picture, 3, axis=1)
    np.testing.assert_array_equal(frame, result.first_HW3)
    assert not truth[:10].any() and (truth[10:] == truth[10, 0]).all() and truth[10, 0, 0] == 255
    assert (flow == 255).all()


def test_flying_chairs_names_share_a_folder(tmp_path: Path) -> None:
    for number in ("00001", "00002"):
        _write_pair(tmp_path / number)
        for old, new in (("frame1.png", "img1.png"), ("frame2.png", "img2.png"), ("flow.flo", "flow.flo")):
            (tmp_path / number / old).rename(tmp_path / f"{number}_{new}")
    pairs = find_pairs(tmp_path)
    assert [pair.name for pair in pairs] == ["00001", "00002"]
    assert [pair.second.name for pair in pairs] == ["00001_img2.png", "00002_img2.png"]
    assert evaluate_pair(pairs[1], _nothing_moves).score.epe_mean_px == 2


@pytest.mark.parametrize(("first", "second"), [("frame9.png", "frame10.png"), ("im_2.PNG", "Im_10.png")])
def test_the_first_frame_is_the_one_with_the_lower_number(tmp_path: Path, first: str, second: str) -> None:
    _write_pair(tmp_path / "a")
    for old, new in (("frame1.png", first), ("frame2.png", second)):
        (tmp_path / "a" / old).rename(tmp_path / "a" / new)
    (pair,) = find_pairs(tmp_path)
    assert (pair.first.name, pair.second.name) == (first, second)


def test_frames_without_an_order_and_flow_of_both_directions_are_refused(tmp_path: Path) -> None:
    _write_pair(tmp_path / "a")
    (tmp_path / "a" / "flow.flo").rename(tmp_path / "a" / "flow_01.flo")
    (tmp_path / "a" / "flow_10.flo").write_bytes((tmp_path / "a" / "flow_01.flo").read_bytes())
    with pytest.raises(KernelInputError, match=r"flow_01.flo and flow_10.flo have the same frames, frame1.png and"):
        find_pairs(tmp_path)
    (tmp_path / "a" / "flow_10.flo").unlink()
    for old, new in (("frame1.png", "before.png"), ("frame2.png", "after.png")):
        (tmp_path / "a" / old).rename(tmp_path / "a" / new)
    with pytest.raises(KernelInputError, match=r"which of after.png and before.png in .* comes first is not in their"):
        find_pairs(tmp_path)


def test_folders_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    with pytest.raises(KernelInputError, match=r"holds no \.flo file"):
        find_pairs(tmp_path)
    _write_pair(tmp_path / "a")
    (tmp_path / "a" / "frame2.png").write_bytes(b"no picture")
    with pytest.raises(KernelInputError, match="no picture that OpenCV can read"):
        list(evaluate_folder(tmp_path, _nothing_moves))
    cv2.imwrite(str(tmp_path / "a" / "frame2.png"), np.zeros((40, 50, 3), np.uint8))
    with pytest.raises(KernelInputError, match=r"a: frames are \(40, 56, 3\) and \(40, 50, 3\)"):
        list(evaluate_folder(tmp_path, _nothing_moves))
    (tmp_path / "a" / "frame2.png").unlink()
    with pytest.raises(KernelInputError, match="has 1 images beside it"):
        find_pairs(tmp_path)
    with pytest.raises(KernelInputError, match="no scores"):
        mean_score([])


def test_the_dis_column_of_the_real_pairs(shared_dir: Path) -> None:
    """DIS at its default is deterministic: end-point errors that came with the pairs."""
    from kernels.flow import compute_flow

    expected = {"Dimetrodon": 0.156, "Grove2": 0.319, "RubberWhale": 0.225, "Venus": 0.384}
    for name, epe_px in expected.items():
        folder = shared_dir / "data" / "flow_gt" / name
        (result,) = evaluate_folder(folder, lambda first, second: compute_flow(first, second, method="dis"))
        assert result.score.epe_mean_px == pytest.approx(epe_px, abs=0.005), name
