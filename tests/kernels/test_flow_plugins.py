"""Methods of others: one's own function for real, ptlflow's networks where it is installed, and what goes wrong."""

import importlib.util
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from moving_frames import shifted_pair
from torch import Tensor, nn
from torch.nn import functional as F

from kernels.errors import KernelInputError
from kernels.flow import compute_flow

_HERE = __name__


def network(weights: str | None = None) -> nn.Module:
    """A few convolutions of stride 4: frames are padded to its multiples, and flow cropped again."""
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Conv2d(6, 8, 4, stride=4), nn.ReLU(), nn.ConvTranspose2d(8, 2, 4, stride=4))
    if weights:
        layers.load_state_dict(torch.load(weights, weights_only=True))
    return layers.eval()


def small_network(first_BHW3: Tensor, second_BHW3: Tensor, weights: str | None = None) -> Tensor:
    pair_B6HW = torch.cat([first_BHW3, second_BHW3], dim=-1).movedim(-1, 1).float() / 255
    height, width = pair_B6HW.shape[-2:]
    padded = F.pad(pair_B6HW, (0, -width % 4, 0, -height % 4), mode="replicate")
    return network(weights)(padded)[..., :height, :width].movedim(1, -1)


def swapped(first_BHW3: Tensor, second_BHW3: Tensor) -> Tensor:
    return small_network(first_BHW3, second_BHW3).movedim(-1, 1)


def not_finite(first_BHW3: Tensor, second_BHW3: Tensor) -> Tensor:
    flow = small_network(first_BHW3, second_BHW3)
    flow[0, 0, 0, 0] = torch.nan
    return flow


def as_numpy(first_BHW3: Tensor, second_BHW3: Tensor) -> object:
    return small_network(first_BHW3, second_BHW3).numpy()


def failing(first_BHW3: Tensor, second_BHW3: Tensor) -> Tensor:
    raise RuntimeError("two\nlines")


def sparse(first_BHW3: Tensor, second_BHW3: Tensor) -> Tensor:
    return small_network(first_BHW3, second_BHW3).to_sparse()


_KEPT: dict[tuple[int, ...], Tensor] = {}


def same_memory(first_BHW3: Tensor, second_BHW3: Tensor) -> Tensor:
    """Writes into its frames, and returns one tensor again and again."""
    flow = small_network(first_BHW3, second_BHW3)
    first_BHW3.zero_()
    return _KEPT.setdefault(tuple(flow.shape), torch.empty_like(flow)).copy_(flow)


NO_FUNCTION = 3


@pytest.mark.parametrize(("height", "width"), [(24, 32), (21, 35)])
def test_any_size_and_batch_equals_the_loop(height: int, width: int) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (2, 3, height, width, 3), dtype=np.uint8)
    flow = compute_flow(*frames, method=f"{_HERE}:small_network")
    assert flow.shape == (3, height, width, 2) and flow.dtype == np.float32 and np.abs(flow).max() > 0
    for index in range(3):
        one = compute_flow(*frames[:, index : index + 1], method=f"{_HERE}:small_network")
        np.testing.assert_allclose(one[0], flow[index], atol=1e-6)
    as_torch = compute_flow(*torch.from_numpy(frames), method=f"{_HERE}:small_network")
    np.testing.assert_array_equal(as_torch.numpy(), flow)
    grey = frames[..., 0]
    same = np.repeat(grey[..., None], 3, axis=-1)
    np.testing.assert_array_equal(
        compute_flow(*grey, method=f"{_HERE}:small_network"), compute_flow(*same, method=f"{_HERE}:small_network")
    )


def test_weights_reach_the_function(tmp_path: Path) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (2, 1, 8, 8, 3), dtype=np.uint8)
    zeros = {name: torch.zeros_like(value) for name, value in network().state_dict().items()}
    torch.save(zeros, tmp_path / "zeros.pth")
    flow = compute_flow(*frames, method=f"{_HERE}:small_network", weights=tmp_path / "zeros.pth")
    np.testing.assert_array_equal(flow, 0)
    with pytest.raises(KernelInputError, match=r"gone\.pth of .*:small_network do not exist"):
        compute_flow(*frames, method=f"{_HERE}:small_network", weights=tmp_path / "gone.pth")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("swapped", r":swapped returns \(1, 2, 8, 12\) torch\.float32 for frames of shape \(1, 8, 12, 3\)"),
        (
            "not_finite",
            r":not_finite returns \(1, 8, 12, 2\) with 1 values NaN .* frames of shape \(1, 8, 12, 3\)",
        ),
        ("as_numpy", r":as_numpy returns a ndarray, no torch\.Tensor, for frames .*here \(1, 8, 12, 2\), is"),
        ("sparse", r":sparse returns a tensor without values of its own, torch\.sparse_coo"),
        ("failing", r":failing fails on frames of shape \(1, 8, 12, 3\): RuntimeError: two lines"),
        ("NO_FUNCTION", r":NO_FUNCTION is a int, and no function"),
        ("gone", r":gone: AttributeError"),
    ],
)
def test_what_goes_wrong_names_the_method_and_the_shapes(name: str, message: str) -> None:
    frames = np.zeros((2, 1, 8, 12, 3), np.uint8)
    with pytest.raises(KernelInputError, match=message):
        compute_flow(*frames, method=f"{_HERE}:{name}")


def test_frames_and_flow_are_not_shared_with_the_method() -> None:
    frames = np.random.default_rng(0).integers(0, 256, (2, 1, 8, 12, 3), dtype=np.uint8)
    given = frames.copy()
    one, other = (compute_flow(*pair, method=f"{_HERE}:same_memory") for pair in (given, given[::-1]))
    np.testing.assert_array_equal(given, frames)
    np.testing.assert_array_equal(one, compute_flow(*frames, method=f"{_HERE}:small_network"))
    assert not np.array_equal(one, other)


def test_a_module_that_is_not_there_is_said() -> None:
    frames = np.zeros((2, 1, 8, 12, 3), np.uint8)
    with pytest.raises(KernelInputError, match=r"no_such_module:find: No module named 'no_such_module'"):
        compute_flow(*frames, method="no_such_module:find")
    if importlib.util.find_spec("ptlflow") is None:
        with pytest.raises(KernelInputError, match=r"ptlflow:raft_small.*pip install --no-deps ptlflow"):
            compute_flow(*frames, method="ptlflow:raft_small")


@pytest.mark.skipif(importlib.util.find_spec("ptlflow") is None, reason="ptlflow is not installed")
def test_networks_of_ptlflow(tmp_path: Path) -> None:
    import ptlflow

    torch.manual_seed(0)
    torch.save({"state_dict": ptlflow.get_model("raft_small").state_dict()}, tmp_path / "small.ckpt")
    torch.save({"state_dict": {"a": torch.zeros(1)}}, tmp_path / "other.ckpt")
    first, second = (np.concatenate([frame, frame[:, ::-1]]) for frame in shifted_pair(130, 150, right_px=2))
    find = partial(compute_flow, method="ptlflow:raft_small", weights=tmp_path / "small.ckpt")
    flow = find(first, second)
    assert flow.shape == (2, 130, 150, 2) and np.isfinite(flow).all()
    np.testing.assert_allclose(find(first[1:], second[1:])[0], flow[1], rtol=1e-3, atol=1e-3)
    for name, weights, message in (
        (
            "raft_small",
            tmp_path / "other.ckpt",
            r"other\.ckpt does not hold the weights of ptlflow's raft_s",
        ),
        ("raft_small", None, "ptlflow:raft_small needs a weights file"),
        ("raft_tiny", tmp_path / "small.ckpt", r"ptlflow has no network 'raft_tiny'; it has .*raft_small"),
    ):
        with pytest.raises(KernelInputError, match=message) as refused:
            compute_flow(first, second, method=f"ptlflow:{name}", weights=weights)
        assert "\n" not in str(refused.value)
