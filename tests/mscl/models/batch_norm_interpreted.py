"""The Triton kernels of batch norm in Triton's interpreter: how far they are from PyTorch's layers.

tests/interpreted.py runs it.
"""

import itertools

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mscl.models import batch_norm_cuda
from mscl.models.pictures import ClipBatchNorm

SHAPES = {"ragged": (2, 24, 3, 9, 11), "wide": (3, 136, 1, 4, 4)}


def results(norm: nn.BatchNorm3d, x: Tensor, added: Tensor | None, rectified: bool) -> dict[str, Tensor]:
    """Output, gradients and statistics after two steps."""
    leaves = [x.clone().requires_grad_(), *([] if added is None else [added.clone().requires_grad_()])]
    for _ in range(2):
        if isinstance(norm, ClipBatchNorm):
            y = norm.in_one_pass(leaves[0], leaves[1] if added is not None else None, rectified=rectified)
        else:
            y = norm(leaves[0]) if added is None else norm(leaves[0]) + leaves[1]
            y = F.relu(y) if rectified else y
    incoming = torch.randn(y.shape, generator=torch.Generator().manual_seed(3), dtype=y.dtype)
    gradients = torch.autograd.grad(y, [*leaves, *norm.parameters()], incoming)
    names = ["dx", *(["dadded"] if added is not None else []), "dweight", "dbias"]
    return {"y": y.detach(), **dict(zip(names, gradients, strict=True)), **dict(norm.named_buffers())}


def main() -> dict[str, float]:
    torch.manual_seed(0)
    batch_norm_cuda.MOST_PARTS = 2  # so that a program sums more than one tile
    batch_norm_cuda.TOTALS["CHANNELS"] = 64  # fewer programs for the interpreter
    report: dict[str, float] = {}
    for (name, shape), adds, rectified in itertools.product(SHAPES.items(), (False, True), (False, True)):
        x = (3 * torch.randn(shape) + 2).contiguous(memory_format=torch.channels_last_3d)
        added = torch.randn(shape) if adds else None
        plain, ours = nn.BatchNorm3d(shape[1]), ClipBatchNorm(shape[1])
        with torch.no_grad():
            plain.weight.uniform_(-1, 1)
            plain.bias.uniform_(-1, 1)
        ours.load_state_dict(plain.state_dict())
        expected, got = results(plain, x, added, rectified), results(ours, x, added, rectified)
        for part, value in expected.items():
            case = f"{name}, added {adds}, rectified {rectified}: {part}"
            report[case] = float((got[part] - value).abs().max() / value.abs().max().clamp_min(1e-9))
    half = x.bfloat16()
    seen = ours.in_one_pass(half, half, rectified=True).detach()
    report["bfloat16"] = float(
        (seen.float() - F.relu(plain(half.float()).detach() + half.float())).abs().max() / seen.max()
    )
    assert seen.dtype == torch.bfloat16 and seen.is_contiguous(memory_format=torch.channels_last_3d)
    return report
