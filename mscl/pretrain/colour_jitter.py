"""Colour work on RGB clips, batched, each clip with its own parameters (METHOD 1.4.7).

Clips are float (B, 3, T, H, W) in [0, 1]. Every function equals torchvision's of the same name for float images,
applied clip by clip; statistics (the mean that contrast turns about) are each frame's own, as there.
Parameters come from the host, so that nothing here waits for the device.
"""

import math
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from mscl.pretrain.draws import ColourDraws

_CHUNK_VALUES = 1 << 20
"""Values of a chunk on a CPU, 4 MB of float32: memory stays bounded, and groups of equal work stay large."""
_GREY = (0.2989, 0.587, 0.114)  # ITU-R 601-2, as torchvision rounds it


def on_device(values: NDArray[Any], where: Tensor) -> Tensor:
    """A few numbers on the device of `where`, without waiting for it."""
    return torch.from_numpy(values).to(where.device, non_blocking=True)


def grey_B1THW(clip: Tensor) -> Tensor:
    """Luma of (B, 3, T, H, W), as (B, 1, T, H, W)."""
    red, green, blue = clip.unbind(1)
    grey: Tensor = (red * _GREY[0]).add_(green, alpha=_GREY[1]).add_(blue, alpha=_GREY[2])
    return grey.unsqueeze(1)


def adjust_brightness(clip: Tensor, factor: Tensor) -> Tensor:
    """Scale towards black; `factor` broadcasts, (B, 1, T or 1, 1, 1)."""
    return (clip * factor).clamp_(0, 1)


def adjust_contrast(clip: Tensor, factor: Tensor) -> Tensor:
    """Blend with the mean luma of each frame."""
    mean = grey_B1THW(clip).mean(dim=(-2, -1), keepdim=True)
    return (clip * factor).add_(mean * (1 - factor)).clamp_(0, 1)


def adjust_saturation(clip: Tensor, factor: Tensor) -> Tensor:
    """Blend with the luma of each pixel."""
    grey = grey_B1THW(clip).mul_(1 - factor)
    return (clip * factor).add_(grey).clamp_(0, 1)


def adjust_hue(clip: Tensor, shift_turns: Tensor) -> Tensor:
    """Turn the hue by a part of the full circle, value and chroma kept (HSV)."""
    red, green, blue = clip.unbind(1)
    value = torch.maximum(torch.maximum(red, green), blue)
    low = torch.minimum(torch.minimum(red, green), blue)
    chroma = value - low
    # Hue in sixths of a turn, counted from the channel that is largest; greys have none: 0 / tiny. Masks are
    # floats and sectors are blended, because boolean masks and torch.where cost 4-8x an addition on CPUs.
    is_red = torch.eq(red, value, out=torch.empty_like(value))
    is_green = torch.eq(green, value, out=torch.empty_like(value)).mul_(1 - is_red)
    from_blue = red - green
    sixths = torch.addcmul(from_blue, is_red, (green - blue).sub_(from_blue))
    sixths.addcmul_(is_green, (blue - red).sub_(from_blue)).div_(chroma.clamp(min=1e-12))
    sixths.add_(4).sub_(is_red, alpha=4).sub_(is_green, alpha=2)
    sixths.add_(shift_turns.squeeze(1), alpha=6.0)
    sixths.sub_((sixths / 6).floor_(), alpha=6.0)
    out = torch.empty_like(clip)
    out_red, out_green, out_blue = out.unbind(1)
    # Each channel is a trapezoid over the circle: |h - 3| - 1, 2 - |h - 2|, 2 - |h - 4|, cut to [0, 1].
    torch.addcmul(low, (sixths - 3).abs_().sub_(1).clamp_(0, 1), chroma, out=out_red)
    torch.addcmul(low, (sixths - 2).abs_().neg_().add_(2).clamp_(0, 1), chroma, out=out_green)
    torch.addcmul(low, (sixths - 4).abs_().neg_().add_(2).clamp_(0, 1), chroma, out=out_blue)
    return out


_ADJUST = (adjust_brightness, adjust_contrast, adjust_saturation, adjust_hue)


def colour_jitter_(clip: Tensor, draws: ColourDraws) -> None:
    """Brightness, contrast, saturation and hue in each clip's own order, in place, where `draws` says so."""
    factors_4BT = on_device(draws.factors_B4T, clip).to(clip.dtype).unbind(1)
    for place in range(len(_ADJUST)):
        for operation, adjust in enumerate(_ADJUST):
            rows = np.flatnonzero(draws.jitter_B & (draws.order_B4[:, place] == operation))
            if len(rows):
                index = on_device(rows, clip)
                factor = factors_4BT[operation].index_select(0, index)[:, None, :, None, None]
                clip.index_copy_(0, index, adjust(clip.index_select(0, index), factor))


def to_grey_(clip: Tensor, rows: NDArray[np.int64]) -> None:
    """Replace the clips `rows` by their luma, in place."""
    if len(rows):
        index = on_device(rows, clip)
        clip.index_copy_(0, index, grey_B1THW(clip.index_select(0, index)).expand(-1, 3, -1, -1, -1))


def blur_kernel_px(size_px: int) -> int:
    """Odd width of the blur's kernel for frames of `size_px` (METHOD 1.4.7)."""
    return int(0.1 * size_px) // 2 * 2 + 1


def blur_weights(sigma_px: NDArray[np.float64], size: int) -> NDArray[np.float32]:
    """Weights of an odd kernel of `size` px for every sigma, one row each, of sum 1."""
    offsets = np.arange(-(size // 2), size // 2 + 1)
    weights = np.exp(-0.5 * (offsets / sigma_px[:, None]) ** 2)
    normalised: NDArray[np.float32] = (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
    return normalised


def gaussian_blur_(clip: Tensor, rows: NDArray[np.int64], sigma_px: NDArray[np.float64]) -> None:
    """Blur the clips `rows` with their own sigma, borders reflected, in place; `sigma_px` belongs to `rows`."""
    size = blur_kernel_px(clip.shape[-1])
    if len(rows) == 0 or size == 1:
        return
    reach = size // 2
    taps = on_device(blur_weights(sigma_px, size), clip)[:, :, None, None, None]
    index = on_device(rows, clip)
    _, channels, frames, height, width = clip.shape
    flat = clip.index_select(0, index).view(len(rows), channels * frames, height, width)
    for height_reach, width_reach in ((reach, 0), (0, reach)):
        padded = F.pad(flat, (width_reach, width_reach, height_reach, height_reach), mode="reflect")
        flat = padded[:, :, :height, :width] * taps[:, 0]
        for tap in range(1, size):
            top, left = (tap, 0) if height_reach else (0, tap)
            flat.addcmul_(padded[:, :, top : top + height, left : left + width], taps[:, tap])
    clip.index_copy_(0, index, flat.view(len(rows), channels, frames, height, width))


def chunk_clips(clip_shape: torch.Size, device: torch.device) -> int:
    """Clips that are worked on together: all on an accelerator, a few MB on a CPU."""
    if device.type != "cpu":
        return max(clip_shape[0], 1)
    return max(1, _CHUNK_VALUES // max(math.prod(clip_shape[1:]), 1))
