"""Feature maps made finer, as matrix products where the library's own kernels are slow (docs/gpu.md)."""

import functools
from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

Mode = Literal["nearest", "linear"]


def upsampled(x_BCTHW: Tensor, size: Sequence[int], *, mode: Mode) -> Tensor:
    """`F.interpolate(x, size, mode="nearest" or "trilinear")`: a CPU runs the library's, a GPU three products."""
    if x_BCTHW.device.type == "cpu":
        return F.interpolate(x_BCTHW, size=list(size), mode="trilinear" if mode == "linear" else mode)
    return by_products(x_BCTHW, size, mode=mode)


def by_products(x_BCTHW: Tensor, size: Sequence[int], *, mode: Mode) -> Tensor:
    """Interpolation along T, then H, then W, each a batched product. The map and what comes out are channels last."""
    batch, channels, _, rows, columns = x_BCTHW.shape
    in_time, in_rows, in_columns = (
        interpolation(source, target, mode, x_BCTHW.device, x_BCTHW.dtype)
        for source, target in zip(x_BCTHW.shape[2:], size, strict=True)
    )
    y = _applied(in_time, x_BCTHW.permute(0, 2, 3, 4, 1).reshape(batch, -1, rows * columns * channels))
    y = _applied(in_rows, y.reshape(batch * size[0], rows, columns * channels))
    y = _applied(in_columns, y.reshape(batch * size[0] * size[1], columns, channels))
    return y.view(batch, *size, channels).permute(0, 4, 1, 2, 3)


def _applied(matrix: Tensor, x_NKM: Tensor) -> Tensor:
    if matrix.shape[0] == matrix.shape[1]:  # as many places as before: the identity
        return x_NKM
    return torch.bmm(matrix.expand(x_NKM.shape[0], -1, -1), x_NKM)


@functools.lru_cache(maxsize=64)
def interpolation(source: int, target: int, mode: Mode, device: torch.device, dtype: torch.dtype) -> Tensor:
    """The library's own interpolation of `source` values to `target`, as a matrix (target, source)."""
    unit_1SS = torch.eye(source, dtype=torch.float64)[None]
    return F.interpolate(unit_1SS, size=target, mode=mode)[0].T.to(device, dtype).contiguous()
