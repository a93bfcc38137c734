"""Batch norm in training on CUDA, with the shortcut and the rectifier that follow it, in Triton kernels.

What PyTorch does in four passes over memory, five times as long as memory needs (docs/gpu.md), is two here: one sums,
one normalises, adds and rectifies. The same in the gradient.

A clip (B, C, T, H, W), channels last, is B*T*H*W rows of C values. Rows of few channels are joined into lines of up to
`COLUMNS` values, so that a tile is full whatever C.
"""

from dataclasses import dataclass
from typing import Any

import torch
import triton
from torch import Tensor

from mscl.models import batch_norm_tiles as tiles

ROWS, COLUMNS = int(tiles.ROWS.value), int(tiles.COLUMNS.value)
MOST_PARTS = 512
"""Programs that sum side by side, for each block of columns: four for every multiprocessor of a large card."""
TOTALS = {"PARTS": 512, "CHANNELS": 8}
"""Tile of the kernels that add up what those programs found."""


@dataclass(frozen=True)
class Lines:
    """How the values of a batch lie in lines of whole rows."""

    rows: int
    channels: int

    @property
    def joined(self) -> int:
        """Rows in a line."""
        return max(1, COLUMNS // self.channels)

    @property
    def width(self) -> int:
        """Values in a line."""
        return self.joined * self.channels

    @property
    def total(self) -> int:
        """Values in all."""
        return self.rows * self.channels

    @property
    def blocks(self) -> tuple[int, int]:
        """Tiles down and across."""
        lines = triton.cdiv(self.rows, self.joined)
        return triton.cdiv(lines, ROWS), triton.cdiv(self.width, COLUMNS)

    @property
    def tiles_each(self) -> int:
        """Tiles that one summing program adds up."""
        return int(triton.cdiv(self.blocks[0], MOST_PARTS))

    @property
    def parts(self) -> int:
        """Summing programs for each block of columns."""
        return int(triton.cdiv(self.blocks[0], self.tiles_each))


class TrainingNorm(torch.autograd.Function):
    """y = relu(norm(x) + added) in training; relu and what is added are optional.

    Shapes: x and `added` (B, C, T, H, W) in float32, bfloat16 or float16, parameters and running statistics (C,) in
    float32. Running statistics and `counted` are brought forward in place, as `nn.BatchNorm3d` does.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x_BCTHW: Tensor,
        added_BCTHW: Tensor | None,
        weight: Tensor,
        bias: Tensor,
        running_mean: Tensor,
        running_variance: Tensor,
        counted: Tensor,
        momentum: float,
        eps: float,
        rectified: bool,
    ) -> Tensor:
        x = x_BCTHW.contiguous(memory_format=torch.channels_last_3d)
        added = None
        if added_BCTHW is not None:
            added = added_BCTHW.to(x.dtype).contiguous(memory_format=torch.channels_last_3d)
        channels = x.shape[1]
        lines = Lines(x.numel() // channels, channels)
        mean, inverse_std = torch.empty_like(running_mean), torch.empty_like(running_mean)
        sums, squares = running_mean.new_empty(2, lines.parts, lines.width)
        across = lines.blocks[1]
        tiles.column_sums[(lines.parts, across)](
            x, running_mean, sums, squares, lines.total, lines.width, channels, lines.tiles_each, num_warps=8
        )
        tiles.moments[(triton.cdiv(channels, TOTALS["CHANNELS"]),)](
            sums,
            squares,
            mean,
            inverse_std,
            running_mean,
            running_variance,
            counted,
            lines.rows,
            channels,
            lines.parts * lines.joined,
            momentum,
            eps,
            **TOTALS,
        )
        y = torch.empty_like(x)
        tiles.normalised[lines.blocks](
            x,
            x if added is None else added,
            y,
            mean,
            inverse_std,
            weight,
            bias,
            lines.total,
            lines.width,
            channels,
            ADDED=added is not None,
            RECTIFIED=rectified,
        )
        ctx.added, ctx.rectified = added is not None, rectified
        ctx.save_for_backward(x, y if ctx.added and rectified else None, weight, bias, mean, inverse_std)
        return y

    @staticmethod
    def backward(ctx: Any, incoming_BCTHW: Tensor) -> tuple[Tensor | None, ...]:
        x, y, weight, bias, mean, inverse_std = ctx.saved_tensors
        dy = incoming_BCTHW.contiguous(memory_format=torch.channels_last_3d)
        channels = x.shape[1]
        lines = Lines(x.numel() // channels, channels)
        read = (dy, x, x if y is None else y, mean, inverse_std, weight, bias)
        kind = {"ADDED": ctx.added, "RECTIFIED": ctx.rectified}
        sums, products = mean.new_empty(2, lines.parts, lines.width)
        tiles.gradient_sums[(lines.parts, lines.blocks[1])](
            *read, sums, products, lines.total, lines.width, channels, lines.tiles_each, **kind, num_warps=8
        )
        dbias, dweight = torch.empty_like(mean), torch.empty_like(mean)
        tiles.gradient_totals[(triton.cdiv(channels, TOTALS["CHANNELS"]),)](
            sums, products, dbias, dweight, channels, lines.parts * lines.joined, **TOTALS
        )
        dx = torch.empty_like(x)
        dadded = torch.empty_like(x) if ctx.added and ctx.rectified else None
        tiles.input_gradient[lines.blocks](
            *read,
            dbias,
            dweight,
            dx,
            dx if dadded is None else dadded,
            lines.rows,
            lines.total,
            lines.width,
            channels,
            **kind,
        )
        if ctx.added and not ctx.rectified:
            dadded = dy
        return dx, dadded, dweight, dbias, None, None, None, None, None, None
