"""Motion boundaries, attention and differences: closed forms, the oracle, the golden vectors."""

import os
import subprocess
import sys
from pathlib import Path

import motion_oracle as oracle
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels import differences, motion
from kernels.errors import KernelInputError
from kernels.motion import attention, default_window_px, field_differences, motion_boundary


def _smooth_flows(num_fields: int, height: int, width: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    coarse = torch.from_numpy(rng.normal(size=(num_fields, 2, 4, 5)))
    fine = torch.nn.functional.interpolate(coarse, size=(height, width), mode="bicubic", align_corners=False)
    noise = rng.normal(scale=0.05, size=(num_fields, height, width, 2))
    return (3 * fine.movedim(1, -1).numpy() + noise).astype(np.float32)


def _choices() -> list[tuple[str, str, str]]:
    return [
        (weight, mode, pool)
        for weight in motion.WEIGHTS
        for mode in motion.ATTENTIONS
        for pool in motion.POOLS
        if (weight, mode) != ("attention_map", "none")
    ]


def test_golden_maps(shared_dir: Path) -> None:
    with np.load(shared_dir / "golden" / "motion.npz") as golden:
        np.testing.assert_array_equal(motion_boundary(golden["flows"]), golden["motion_boundary"])
        for mode in ("max", "sum"):
            attended = attention(golden["motion_boundary"], mode=mode)
            np.testing.assert_array_equal(attended, golden[f"attention_{mode}"])


def test_golden_choice_of_clip_starts(shared_dir: Path) -> None:
    """The released scorer on our differences chooses the golden starts, for every combination it has.

    Not for attention_map with sum and avg: there A sums to 1, so every d_j is 1 / (H W) and rounding chose.
    """
    compared = 0
    with np.load(shared_dir / "golden" / "motion.npz") as golden:
        for key in golden:
            if not key.startswith("chosen__") or key.startswith("chosen__attention_map__sum__avg"):
                continue
            _, weight, mode, pool, clip = key.split("__")
            length, stride = (int("".join(filter(str.isdigit, part))) for part in clip.split("_"))
            d_M = field_differences(golden["flows"], weight=weight, attention=mode, pool=pool).astype(np.float64)
            padded = np.pad(d_M, (0, length * stride))
            scores = sum(padded[n * stride : n * stride + len(d_M)] for n in range(length))
            np.testing.assert_array_equal(np.flatnonzero(scores > np.median(scores)), golden[key], err_msg=key)
            compared += 1
    assert compared == 27


def test_attention_maps_are_alike_on_another_cpu(tmp_path: Path) -> None:
    """torch's own kernels for CPUs without AVX2 round differently; ours must not."""
    flows = _smooth_flows(5, 33, 47)
    np.save(tmp_path / "flows.npy", flows)
    script = """if True:
        import sys, numpy as np, torch
        from kernels.motion import attention, field_differences, motion_boundary
        assert torch.backends.cpu.get_cpu_capability() in ("DEFAULT", "NO AVX"), torch.backends.cpu.get_cpu_capability()
        flows = np.load(sys.argv[1] + "/flows.npy")
        maps = {mode: attention(motion_boundary(flows), mode=mode, window_px=9) for mode in ("max", "sum")}
        means = field_differences(flows, weight="attention_map", attention="sum", window_px=9)
        np.savez(sys.argv[1] + "/there.npz", means=means, **maps)
    """
    environment = {**os.environ, "ATEN_CPU_CAPABILITY": "default"}
    subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=True, env=environment, timeout=120)
    with np.load(tmp_path / "there.npz") as there:
        for mode in ("max", "sum"):
            np.testing.assert_array_equal(there[mode], attention(motion_boundary(flows), mode=mode, window_px=9))
        means = field_differences(flows, weight="attention_map", attention="sum", window_px=9)
        np.testing.assert_array_equal(there["means"], means)


def test_sobel_of_a_shear_is_eight_times_its_slope() -> None:
    y, x = np.mgrid[0:6, 0:7].astype(np.float32)
    flow = np.stack((0.5 * x, -0.25 * y), axis=-1)[None]
    inner = motion_boundary(flow)[0, 1:-1, 1:-1]
    np.testing.assert_allclose(inner, 8 * np.hypot(0.5, 0.25), rtol=1e-6)


def test_translation_has_no_boundary() -> None:
    assert not motion_boundary(np.full((2, 5, 6, 2), 3.25, np.float32)).any()


def test_attention_peaks_where_the_boundary_is() -> None:
    boundary = np.zeros((1, 56, 56), np.float32)
    boundary[0, 40:44, 8:12] = 1
    attended = attention(boundary)[0]
    assert attended.max() == 1 and attended[42, 10] == 1 and attended[10, 45] == 0
    np.testing.assert_allclose(attention(boundary, mode="sum")[0].sum(), 1, rtol=1e-6)


def test_window_scales_with_the_grid() -> None:
    assert [default_window_px(height) for height in (1, 14, 128, 384, 768)] == [1, 1, 9, 28, 56]
    boundary = motion_boundary(_smooth_flows(2, 96, 40))
    np.testing.assert_array_equal(attention(boundary, window_px=None), attention(boundary, window_px=7))


@pytest.mark.parametrize(("weight", "mode", "pool"), _choices())
def test_differences_equal_the_oracle(weight: str, mode: str, pool: str) -> None:
    flows = _smooth_flows(7, 45, 61)
    got = field_differences(flows, weight=weight, attention=mode, pool=pool, window_px=8)
    expected = oracle.field_differences(
        flows.astype(np.float64), weight=weight, attention_mode=mode, pool=pool, window=8
    )
    # a floor that falls the other way moves one pixel by 1 of 255
    tolerance = {"avg": 2e-4, "max": 1.5 if mode != "sum" else 0.02}[pool] if weight == "rgb_map" else 0.0
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=tolerance * (expected.max() if pool == "avg" else 1))
    assert got.dtype == np.float32 and (weight != "rgb_map" or got[-1] == 0)


@pytest.mark.skipif(differences.library() is None, reason="not built, or not for this machine")
@pytest.mark.parametrize(
    "shape", [(7, 45, 61), (12, 64, 64), (11, 130, 99), (3, 1, 1), (3, 1, 5), (3, 5, 1), (1, 8, 8)]
)
@pytest.mark.parametrize("mode", ["max", "sum"])
def test_compiled_differences_have_the_bits_of_the_others(shape: tuple[int, int, int], mode: str) -> None:
    """Also where nothing moves, which the compiled code handles by itself, and in the steps that flow is stored in."""
    flows = _smooth_flows(*shape)
    flows[:, : shape[1] // 2] = np.rint(flows[:, : shape[1] // 2])
    flows[1:3] = np.where(np.arange(shape[2])[:, None] < shape[2] // 2, 0, flows[1:3])
    choices = {"attention": mode, "window_px": 9}
    compiled = [field_differences(flows, **choices, pool=pool) for pool in motion.POOLS]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(motion, "library", lambda: None)
        for found, pool in zip(compiled, motion.POOLS, strict=True):
            np.testing.assert_array_equal(found, field_differences(flows, **choices, pool=pool))


@settings(max_examples=25)
@given(st.integers(1, 9), st.integers(1, 12), st.integers(1, 12), st.integers(1, 40))
def test_chunks_do_not_show(num_fields: int, height: int, width: int, window_px: int) -> None:
    flows = np.random.default_rng(height * width).normal(size=(num_fields, height, width, 2)).astype(np.float32)
    whole = field_differences(flows, window_px=window_px)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(motion._CHUNK_PIXELS, "cpu", 2 * height * width)
        np.testing.assert_allclose(field_differences(flows, window_px=window_px), whole, rtol=1e-5, atol=1e-6)
    assert whole.shape == (num_fields,) and np.isfinite(whole).all()


def test_no_fields_no_differences() -> None:
    assert field_differences(np.zeros((0, 4, 4, 2), np.float32)).shape == (0,)


@pytest.mark.parametrize(("weight", "mode", "pool"), _choices())
def test_a_still_video_has_differences_zero(weight: str, mode: str, pool: str) -> None:
    flows = np.zeros((3, 9, 9, 2), np.float32)
    np.testing.assert_array_equal(field_differences(flows, weight=weight, attention=mode, pool=pool), 0)


def test_the_direction_matters_not_the_speed_of_the_whole_field() -> None:
    """Fields are normalised one by one: twice as fast is the same picture, the other direction is not."""
    field = _smooth_flows(1, 30, 30)[0]
    same, turned = field_differences(np.stack((field, 2 * field, -field)))[:2]
    assert same < 0.5 < 20 < turned


def test_torch_and_other_memory_give_the_same() -> None:
    flows = _smooth_flows(4, 20, 24)
    planar = np.ascontiguousarray(np.moveaxis(flows, -1, 1))
    view = np.moveaxis(planar, 1, -1)
    view.setflags(write=False)
    expected = field_differences(flows, window_px=5)
    np.testing.assert_array_equal(field_differences(view, window_px=5), expected)
    as_torch = field_differences(torch.from_numpy(flows), window_px=5)
    assert isinstance(as_torch, torch.Tensor)
    np.testing.assert_array_equal(as_torch.numpy(), expected)
    np.testing.assert_allclose(field_differences(flows[::-1], window_px=5)[:-1], expected[-2::-1], rtol=1e-5)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("weight", motion.WEIGHTS)
def test_a_vector_without_a_value_is_an_error_that_names_the_field(bad: float, weight: str) -> None:
    flows = _smooth_flows(5, 12, 12)
    flows[3, 4, 5, 1] = bad
    with pytest.raises(KernelInputError, match="around field [23]"):
        field_differences(flows, weight=weight)


def test_the_only_field_is_looked_at_too() -> None:
    """It has no neighbour that its difference could tell of."""
    with pytest.raises(KernelInputError, match="around field 0"):
        field_differences(np.full((1, 4, 4, 2), np.nan, np.float32))


def test_a_library_of_other_sources_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(differences, "_FILE", "tvl1/_tvl1.so")
    with pytest.raises(KernelInputError, match=r"_tvl1\.so was built from other sources"):
        differences.library.__wrapped__()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"weight": "rgb"}, "rgb_map, motion_map"),
        ({"attention": "mean"}, "max, sum, none"),
        ({"pool": "sum"}, "avg, max"),
        ({"window_px": 0}, "window_px is 0"),
        ({"weight": "attention_map", "attention": "none"}, "leaves nothing"),
    ],
)
def test_choices_that_do_not_exist_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(KernelInputError, match=message):
        field_differences(np.zeros((2, 4, 4, 2), np.float32), **changes)


def test_one_field_without_its_axis_is_refused() -> None:
    with pytest.raises(KernelInputError, match=r"\(4, 4, 2\); \(M, H, W, 2\) is needed"):
        motion_boundary(np.zeros((4, 4, 2), np.float32))
    with pytest.raises(KernelInputError, match=r"\(4, 4\)"):
        attention(np.zeros((4, 4), np.float32))
