"""The entry of TV-L1: what it accepts, what it refuses, and that the flow is right where the truth is a formula."""

import subprocess
import sys
import threading
from dataclasses import replace

import numpy as np
import pytest
import torch

from benchmarks.tvl1_scenes import end_point_error, layered_motion, smooth_motion
from kernels.errors import KernelInputError
from kernels.tvl1 import PRESETS, TVL1Params, backends, resolve_backend, tvl1_flow
from kernels.tvl1.native import library_path

QUICK = TVL1Params(levels=2, warps=1, iterations=4)
needs_cpp = pytest.mark.skipif(library_path() is None, reason="the C++ backend is not built (no compiler at install)")


@pytest.mark.parametrize("preset", ["accurate", "balanced", "fast"])
@pytest.mark.parametrize(("kind", "limit_px"), [("shift", 0.12), ("rotation", 0.08), ("zoom", 0.08), ("smooth", 0.08)])
def test_smooth_motion(preset: str, kind: str, limit_px: float) -> None:
    scene = smooth_motion(kind)
    flow = tvl1_flow(scene.first_HW[None], scene.second_HW[None], params=PRESETS[preset])
    assert end_point_error(flow[0], scene.flow_HW2) < limit_px


@pytest.mark.parametrize("preset", ["opencv", "accurate", "balanced", "fast"])
def test_layers_with_occlusion(preset: str) -> None:
    scene = layered_motion()
    flow = tvl1_flow(scene.first_HW[None], scene.second_HW[None], params=PRESETS[preset])[0]
    assert np.median(np.linalg.norm(flow - scene.flow_HW2, axis=-1)) < 0.05
    assert end_point_error(flow, scene.flow_HW2) < 0.5


@pytest.mark.parametrize("backend", ["cpp", "torch"])
@pytest.mark.parametrize(
    "size", [(1, 1), (1, 40), (40, 1), (2, 3), (15, 16), (17, 33), (31, 95), (16, 4096), (4096, 17)]
)
def test_any_size(backend: str, size: tuple[int, int]) -> None:
    if backend == "cpp" and library_path() is None:
        pytest.skip("the C++ backend is not built (no compiler at install)")
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (2, 2, *size), dtype=np.uint8)
    flow = tvl1_flow(frames[0], frames[1], params=QUICK, backend=backend)
    assert flow.shape == (2, *size, 2) and flow.dtype == np.float32
    assert np.isfinite(flow).all()


@pytest.mark.parametrize("level", [0, 128, 255])
def test_constant_and_equal_frames_do_not_move(level: int) -> None:
    flat = np.full((1, 40, 50), level, np.uint8)
    assert not tvl1_flow(flat, flat).any()
    scene = smooth_motion("smooth")
    assert np.abs(tvl1_flow(scene.first_HW[None], scene.first_HW[None])).max() < 0.02


def test_saturated_frames_stay_finite() -> None:
    rng = np.random.default_rng(1)
    noise = np.where(rng.random((2, 1, 48, 64)) < 0.5, 0, 255).astype(np.uint8)
    flow = tvl1_flow(noise[0], noise[1])
    assert np.isfinite(flow).all() and np.abs(flow).max() < 64


def test_every_kind_of_array_gives_the_same() -> None:
    scene = smooth_motion("shift", height=40, width=56)
    pair = np.stack([scene.first_HW, scene.second_HW])[:, None]
    flow = tvl1_flow(pair[0], pair[1], params=QUICK)
    for dtype in (np.float16, np.float32, np.float64):
        np.testing.assert_array_equal(tvl1_flow(pair[0].astype(dtype), pair[1].astype(dtype), params=QUICK), flow)
    strided = np.stack([pair, pair], axis=-1)[..., 0]
    assert not strided.flags.c_contiguous
    np.testing.assert_array_equal(tvl1_flow(strided[0], strided[1], params=QUICK), flow)
    mirrored = pair[:, :, :, ::-1].copy()[:, :, :, ::-1]
    np.testing.assert_array_equal(tvl1_flow(mirrored[0], mirrored[1], params=QUICK), flow)
    tensors = torch.from_numpy(pair)
    result = tvl1_flow(tensors[0], tensors[1], params=QUICK)
    assert isinstance(result, torch.Tensor) and result.dtype == torch.float32
    np.testing.assert_array_equal(result.numpy(), flow)
    read_only = pair.copy()
    read_only.flags.writeable = False
    np.testing.assert_array_equal(tvl1_flow(read_only[0], read_only[1], params=QUICK), flow)


@pytest.mark.parametrize("backend", ["cpp", "torch", "opencv"])
def test_batch_equals_loop(backend: str) -> None:
    if backend == "cpp" and library_path() is None:
        pytest.skip("the C++ backend is not built (no compiler at install)")
    scenes = [
        smooth_motion(kind, height=40, width=56, seed=seed) for seed, kind in enumerate(("shift", "zoom", "smooth"))
    ]
    first, second = (np.stack([scene[i] for scene in scenes]) for i in (0, 1))
    params = replace(PRESETS["opencv"], levels=2, warps=2, median_rounds=2)
    batch = tvl1_flow(first, second, params=params, backend=backend)
    for index in range(3):
        alone = tvl1_flow(first[index : index + 1], second[index : index + 1], params=params, backend=backend)
        np.testing.assert_allclose(batch[index], alone[0], atol=1e-5)
    empty = tvl1_flow(first[:0], second[:0], backend=backend)
    assert empty.shape == (0, 40, 56, 2)


@needs_cpp
def test_threads_do_not_change_a_bit() -> None:
    """Sizes differ between callers, so that scratch of one size serves the next."""
    scenes = [smooth_motion("smooth", height=40 + 7 * i, width=64 - 5 * i, seed=i) for i in range(4)]
    alone = [tvl1_flow(s.first_HW[None], s.second_HW[None], backend="cpp")[0] for s in scenes]
    wrong: list[int] = []

    def work(offset: int) -> None:
        for turn in range(12):
            i = (turn + offset) % 4
            copies = [np.repeat(frame[None], 3, axis=0) for frame in (scenes[i].first_HW, scenes[i].second_HW)]
            flow = tvl1_flow(copies[0], copies[1], backend="cpp", threads=2)
            if not all(np.array_equal(field, alone[i]) for field in flow):
                wrong.append(i)

    callers = [threading.Thread(target=work, args=(offset,)) for offset in range(4)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert not wrong


def test_opencv_keeps_its_levels_after_a_small_image() -> None:
    """A shared DualTVL1 would go on with one level: 11 px would be out of its reach."""
    scene = smooth_motion("shift", height=40, width=56)
    before = tvl1_flow(scene.first_HW[None], scene.second_HW[None], backend="opencv")
    tvl1_flow(np.zeros((1, 8, 8), np.uint8), np.zeros((1, 8, 8), np.uint8), backend="opencv")
    np.testing.assert_array_equal(tvl1_flow(scene.first_HW[None], scene.second_HW[None], backend="opencv"), before)


GREY = np.zeros((1, 20, 30), np.uint8)


@pytest.mark.parametrize(
    ("first", "second", "words"),
    [
        (GREY, np.zeros((1, 20, 31), np.uint8), ["(1, 20, 30)", "(1, 20, 31)"]),
        (GREY, np.zeros((2, 20, 30), np.uint8), ["(1, 20, 30)", "(2, 20, 30)"]),
        (GREY[0], GREY[0], ["(20, 30)", "batch axis"]),
        (GREY[..., None], GREY[..., None], ["(1, 20, 30, 1)", "(B, H, W)"]),
        (np.zeros((20, 30, 3)), np.zeros((20, 30, 3)), ["(20, 30, 3)", "one RGB frame", "grey[None]"]),
        (GREY.astype(np.int32), GREY.astype(np.int32), ["int32", "uint8"]),
        (GREY.astype(bool), GREY.astype(bool), ["bool", "uint8"]),
        (GREY, GREY.astype(np.float32), ["uint8", "float32"]),
        (GREY, torch.from_numpy(GREY), ["ndarray", "Tensor"]),
        (GREY.tolist(), GREY.tolist(), ["list", "NumPy"]),
        (GREY[:, :0], GREY[:, :0], ["0x30", "1x1"]),
        (np.full((1, 20, 30), np.nan, np.float32), GREY.astype(np.float32), ["first", "NaN"]),
        (GREY.astype(np.float32), np.full((1, 20, 30), np.inf, np.float32), ["second", "inf"]),
        (np.full((1, 20, 30), 1e30, np.float32), GREY.astype(np.float32), ["1e+30", "0..255"]),
        (torch.full((1, 20, 30), torch.nan), torch.zeros(1, 20, 30), ["first", "NaN"]),
    ],
)
def test_bad_frames_say_both_sides(first: np.ndarray, second: np.ndarray, words: list[str]) -> None:
    with pytest.raises(KernelInputError) as error:
        tvl1_flow(first, second)
    for word in words:
        assert word in str(error.value)


def test_a_nan_in_the_corner_is_found() -> None:
    frames = np.zeros((2, 20, 30), np.float32)
    frames[1, 19, 29] = np.nan
    with pytest.raises(KernelInputError, match="NaN"):
        tvl1_flow(frames, np.zeros_like(frames))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"backend": "cuda"}, "no TV-L1 backend is called 'cuda'; there are auto, cpp, triton, torch, opencv"),
        ({"threads": 0}, "threads is 0"),
        ({"backend": "triton"}, "CUDA"),
    ],
)
def test_bad_arguments(arguments: dict[str, str | int], words: str) -> None:
    with pytest.raises(KernelInputError, match=words):
        tvl1_flow(GREY, GREY, **arguments)  # type: ignore[call-overload]


def test_opencv_minimum() -> None:
    with pytest.raises(KernelInputError, match="2x30 px, this backend needs at least 3x3"):
        tvl1_flow(GREY[:, :2], GREY[:, :2], backend="opencv")


@pytest.mark.parametrize(
    ("name", "value"), [("tau", 0.35), ("levels", 0), ("median_px", 4), ("theta", float("nan")), ("scale_step", 1.0)]
)
def test_bad_parameters(name: str, value: float) -> None:
    with pytest.raises(KernelInputError, match=rf"{name} is {value}"):
        replace(TVL1Params(), **{name: value})


def test_backends_tell_why() -> None:
    rows = {row.name: row for row in backends()}
    assert list(rows) == ["cpp", "triton", "torch", "opencv"]
    assert all(row.reason for row in rows.values())
    assert rows["torch"].available and rows["opencv"].available
    assert resolve_backend("torch") == "torch" and resolve_backend("auto", "mps:0") == "torch"
    with pytest.raises(KernelInputError, match="on cuda:0: use auto"):
        resolve_backend("cpp", "cuda:0")


def test_auto_without_the_library_is_opencv_with_one_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    from kernels.tvl1 import api, native

    monkeypatch.setattr(native, "library_path", lambda: None)
    api._warn_of_opencv.cache_clear()
    with pytest.warns(UserWarning, match="falls back to OpenCV") as caught:
        for _ in range(3):
            assert resolve_backend("auto", "cpu") == "opencv"
    assert len(caught) == 1
    with pytest.raises(KernelInputError, match="not built"):
        resolve_backend("cpp")


def test_import_is_light() -> None:
    code = "import sys, kernels.tvl1; print([m for m in ('torch', 'cv2', 'triton') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
