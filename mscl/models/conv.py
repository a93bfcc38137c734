"""3x3x3 convolutions with fewer multiplications than the library's, for wide networks on a CPU.

A wide network keeps a CPU's multipliers busy without a break (benchmarks/step.py), so that only fewer
multiplications make a step shorter. Two ways, both exact up to float32 rounding:

- Winograd's minimal filtering F(2, 3) along the rows (Lavin and Gray, "Fast algorithms for convolutional neural
  networks", CVPR 2016): two rows of output take four products instead of six.
- A clip of one or two frames, as in the last stages, is a picture whose channels are (channel, frame): the parts of
  the kernel that would only meet padding in time are left out, of its gradient, too.

Elsewhere (CUDA, reduced precision, narrow or compiled networks) the library's own convolution runs.
"""

# torchvision ships no types, so its classes are Any to the checker.
# mypy: disallow-subclassing-any=False

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torchvision.models.video.resnet import Conv3DSimple

WIDE_CHANNELS = 64
"""From here on the multiplications saved outweigh the additions and copies (benchmarks/step.py)."""
_CHANNELS_LAST = torch.channels_last_3d


class Conv3x3x3(nn.Conv3d):
    """`nn.Conv3d` with kernel 3 and padding 1; the same numbers up to rounding."""

    def __init__(self, in_channels: int, out_channels: int, *, stride: int | tuple[int, int, int] = 1) -> None:
        super().__init__(in_channels, out_channels, 3, stride=stride, padding=1)

    def forward(self, input: Tensor) -> Tensor:
        return convolved(input, self.weight, self.bias, self.stride)


class Conv3x3x3NoBias(Conv3DSimple):
    """torchvision's convolution of r3d_18; the same numbers up to rounding."""

    def forward(self, input: Tensor) -> Tensor:
        return convolved(input, self.weight, None, self.stride)


def convolved(x_BCTHW: Tensor, weight: Tensor, bias: Tensor | None, stride: tuple[int, ...]) -> Tensor:
    """`F.conv3d(x, weight, bias, stride, padding=1)` for 3x3x3 kernels, by whichever way is quickest."""
    times, rows = x_BCTHW.shape[2:4]
    if _pays(x_BCTHW, weight):
        if times <= 2 and stride[0] <= 2 and min(weight.shape[:2]) > WIDE_CHANNELS:
            return _as_picture(x_BCTHW, weight, bias, stride)
        if times > 2 and rows % 2 == 0 and tuple(stride) == (1, 1, 1):
            y_BCTHW: Tensor = _RowWinograd.apply(x_BCTHW, weight)
            return y_BCTHW if bias is None else y_BCTHW.add_(bias.view(-1, 1, 1, 1))
    return F.conv3d(x_BCTHW, weight, bias, stride, padding=1)


def _pays(x_BCTHW: Tensor, weight: Tensor) -> bool:
    return (
        x_BCTHW.device.type == "cpu"
        and x_BCTHW.dtype == weight.dtype == torch.float32
        and min(weight.shape[:2]) >= WIDE_CHANNELS
        and not torch.is_autocast_enabled("cpu")
        and not torch.compiler.is_compiling()
    )


def _as_picture(x_BCTHW: Tensor, weight: Tensor, bias: Tensor | None, stride: tuple[int, ...]) -> Tensor:
    """Convolution of one or two frames; frame t of the output sees frame u of the input through tap 1 + u - t."""
    times = x_BCTHW.shape[2]
    taps = [weight[:, :, 1 - t : 1 - t + times] for t in range(0, times, stride[0])]
    kernel = torch.stack(taps, dim=1).flatten(2, 3).flatten(0, 1)
    biases = None if bias is None else bias.repeat_interleave(len(taps))
    y_BOHW = F.conv2d(x_BCTHW.flatten(1, 2), kernel, biases, stride[1:], padding=1)
    y_BOTHW: Tensor = y_BOHW.unflatten(1, (-1, len(taps)))
    return y_BOTHW


class _RowWinograd(torch.autograd.Function):
    """F(2, 3) along H, plain convolution along T and W; stride 1, H even.

    With the rows of a tile d0..d3 (the last of the tile before, two of its own, the first of the next) and a column of
    the kernel g0..g2:
    y0 = (d0 - d2) g0 + (d1 + d2) (g0 + g1 + g2) / 2 + (d2 - d1) (g0 - g1 + g2) / 2
    y1 = (d1 + d2) (g0 + g1 + g2) / 2 - (d2 - d1) (g0 - g1 + g2) / 2 - (d1 - d3) g2
    d1 are the even rows of the input, d2 the odd ones. Backward is the transpose, product by product.
    """

    @staticmethod
    def forward(ctx: Any, x_BCTHW: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x_BCTHW, weight)
        p0, p1, p2, p3 = (
            torch.conv3d(tile, kernel, padding=(1, 0, 1))
            for tile, kernel in zip(_tiles(x_BCTHW), _kernels(weight), strict=True)
        )
        y_BCTHW, even, odd = _rows_of(x_BCTHW, channels=weight.shape[0])
        torch.sub(p1, p2, out=odd)
        odd.sub_(p3)
        torch.add(p1.add_(p2), p0, out=even)
        return y_BCTHW

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy_BCTHW: Tensor) -> tuple[Tensor | None, Tensor | None]:
        x_BCTHW, weight = ctx.saved_tensors
        wanted: list[bool] = list(ctx.needs_input_grad)
        even, odd = dy_BCTHW[:, :, :, 0::2], dy_BCTHW[:, :, :, 1::2]
        products = (even.contiguous(memory_format=_CHANNELS_LAST), even + odd, even - odd, -odd)
        gradients = [
            torch.ops.aten.convolution_backward(
                product, tile, kernel, None, (1, 1, 1), (1, 0, 1), (1, 1, 1), False, (0, 0, 0), 1, (*wanted, False)
            )
            for product, tile, kernel in zip(products, _tiles(x_BCTHW), _kernels(weight), strict=True)
        ]
        dx_BCTHW = dweight = None
        if wanted[0]:
            d0, d1, d2, d3 = (dtile for dtile, _, _ in gradients)
            dx_BCTHW, even, odd = _rows_of(x_BCTHW, channels=x_BCTHW.shape[1])
            torch.sub(d1, d2, out=even)
            even.add_(d3)
            even[:, :, :, 1:].sub_(d3[:, :, :, :-1])
            torch.add(d1, d2, out=odd)
            odd.sub_(d0)
            odd[:, :, :, :-1].add_(d0[:, :, :, 1:])
        if wanted[1]:
            g0, plus, minus, g2 = (dkernel.squeeze(3) for _, dkernel, _ in gradients)
            mean = (plus + minus) / 2
            dweight = torch.stack([g0 + mean, (plus - minus) / 2, g2 + mean], dim=3)
        return dx_BCTHW, dweight


def _tiles(x_BCTHW: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """d0 - d2, d1 + d2, d2 - d1, d1 - d3, each (B, C, T, H / 2, W); rows outside are zero."""
    even, odd = x_BCTHW[:, :, :, 0::2], x_BCTHW[:, :, :, 1::2]
    first = torch.neg(odd)
    first[:, :, :, 1:].add_(odd[:, :, :, :-1])
    last = even.clone(memory_format=_CHANNELS_LAST)
    last[:, :, :, :-1].sub_(even[:, :, :, 1:])
    return first, even + odd, odd - even, last


def _kernels(weight: Tensor) -> tuple[Tensor, ...]:
    """g0, (g0 + g1 + g2) / 2, (g0 - g1 + g2) / 2, g2, each (O, C, 3, 1, 3)."""
    g0, g1, g2 = weight.split(1, dim=3)
    outer, middle = (g0 + g2) / 2, g1 / 2
    return tuple(g.contiguous(memory_format=_CHANNELS_LAST) for g in (g0, outer + middle, outer - middle, g2))


def _rows_of(like_BCTHW: Tensor, *, channels: int) -> tuple[Tensor, Tensor, Tensor]:
    """An empty map with the extent of `like`, channels last, and its even and odd rows."""
    batch, _, times, rows, columns = like_BCTHW.shape
    y_BCTHW = torch.empty((batch, channels, times, rows, columns), memory_format=_CHANNELS_LAST)
    return y_BCTHW, y_BCTHW[:, :, :, 0::2], y_BCTHW[:, :, :, 1::2]
