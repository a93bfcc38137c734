"""The neck against golden vectors, and that it computes only what is read."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from mscl.models.heads import global_average
from mscl.models.neck import MotionNeck


@pytest.fixture(scope="module")
def golden(shared_dir: Path) -> dict[str, Tensor]:
    return {k: torch.from_numpy(v) for k, v in np.load(shared_dir / "golden" / "losses.npz").items() if "neck" in k}


def golden_neck(golden: dict[str, Tensor]) -> MotionNeck:
    neck = MotionNeck((8, 16, 32), 8, num_pconv=2, stride=(2, 2, 2)).double()
    neck.load_state_dict({k.removeprefix("neck_w:"): v for k, v in golden.items() if k.startswith("neck_w:")})
    return neck


def test_neck_golden(golden: dict[str, Tensor]) -> None:
    outputs = golden_neck(golden)([golden[f"neck_in{level}"] for level in range(3)])
    for level, output in enumerate(outputs):
        torch.testing.assert_close(output, golden[f"neck_out{level}"], rtol=1e-10, atol=1e-10)
    # The clip embedding comes from L4 and not from the neck.
    torch.testing.assert_close(global_average(golden["neck_in2"]), golden["neck_embedding"])


def test_reading_one_level_gives_the_same_level(golden: dict[str, Tensor]) -> None:
    neck = golden_neck(golden)
    pyramid = [golden[f"neck_in{level}"] for level in range(3)]
    alone = neck(pyramid, levels=1)
    assert len(alone) == 1
    torch.testing.assert_close(alone[0], neck(pyramid)[0])


@pytest.mark.parametrize(("num_pconv", "frozen"), [(2, 2), (1, 4)])  # of R18, of R50
def test_every_parameter_left_free_gets_a_gradient(num_pconv: int, frozen: int) -> None:
    # Two ranks of R50 died at their second step, in which DDP waits for the gradients of the first.
    neck = MotionNeck((2, 4, 8), 6, num_pconv=num_pconv)
    neck.freeze_unread()
    pyramid = [torch.randn(1, c, t, 4 * t, 4 * t) for c, t in ((2, 4), (4, 2), (8, 1))]
    neck(pyramid, levels=1)[0].sum().backward()
    without = [name for name, p in neck.named_parameters() if p.requires_grad and p.grad is None]
    assert without == []
    assert sum(not p.requires_grad for p in neck.parameters()) == frozen


@pytest.mark.parametrize("stride", [(2, 2, 2), (1, 2, 2)])
def test_odd_sizes_of_small_crops(stride: tuple[int, int, int]) -> None:
    times = (4, 2, 1) if stride[0] == 2 else (4, 4, 4)
    pyramid = [torch.randn(1, c, t, s, s) for c, t, s in zip((2, 4, 8), times, (5, 3, 2), strict=True)]
    outputs = MotionNeck((2, 4, 8), 6, num_pconv=2, stride=stride)(pyramid)
    assert [o.shape[2:] for o in outputs] == [x.shape[2:] for x in pyramid]
