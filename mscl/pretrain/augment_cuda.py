"""The augmentation of augment.py on CUDA, in five Triton kernels a view: each pixel is read once a stage.

As plain operations it takes 60 of them a view, and ten times as long (docs/gpu.md).
"""

import numpy as np
import torch
import triton
from numpy.typing import NDArray
from torch import Tensor

from kernels.colour import wheel_ramps
from mscl.pretrain import augment_tiles as tiles
from mscl.pretrain.colour_jitter import blur_kernel_px, blur_weights
from mscl.pretrain.draws import ColourDraws

BLOCK = 1024
"""Pixels of a program."""


def augment_rgb(rgb_BTHW3: Tensor, draws: ColourDraws, *, flip_B: NDArray[np.bool_]) -> Tensor:
    """Flip, jitter, grey, blur and mean/std of uint8 clips (B, T, H, W, 3) -> float32 (B, 3, T, H, W)."""
    batch, frames, height, width, _ = rgb_BTHW3.shape
    rgb_BTHW3 = rgb_BTHW3.contiguous()
    size, pixels = blur_kernel_px(width), height * width
    out = rgb_BTHW3.new_empty((batch, 3, frames, height, width), dtype=torch.float32)
    if batch == 0:
        return out
    numbers = _parameters(draws, flip_B, frames=frames, blur_px=size)
    parameters = _sent(numbers, rgb_BTHW3.device)
    means = rgb_BTHW3.new_empty(batch * frames, dtype=torch.float32)
    blocks = triton.cdiv(pixels, BLOCK)
    columns = numbers.shape[1]
    tiles.frame_means[(batch * frames,)](rgb_BTHW3, parameters, means, columns, frames, pixels, BLOCK=BLOCK)
    tiles.colours[(batch * frames, blocks)](
        rgb_BTHW3, parameters, means, out, columns, frames, pixels, width, BLOCK=BLOCK
    )
    if size > 1 and draws.blur_B.any():
        between = torch.empty_like(out)
        for source, target, along_rows in ((out, between, False), (between, out, True)):
            tiles.blurred[(batch * 3 * frames, blocks)](
                source,
                parameters,
                target,
                columns,
                frames,
                height,
                width,
                SIZE=size,
                ALONG_ROWS=along_rows,
                BLOCK=BLOCK,
            )
    return out


def flow_pictures(
    flow_BFHW2: Tensor, *, angle_rad_B: NDArray[np.float64] | None, flip_B: NDArray[np.bool_]
) -> tuple[Tensor, Tensor | None]:
    """Colour-coded flow and the same flow turned, both (B, 3, F, H, W); see augment.py."""
    batch, fields, height, width, _ = flow_BFHW2.shape
    flow_BFHW2 = flow_BFHW2.float().contiguous()
    plain = flow_BFHW2.new_empty((batch, 3, fields, height, width))
    rotated = None if angle_rad_B is None else torch.empty_like(plain)
    if batch == 0:
        return plain, rotated
    angles = np.zeros(batch) if angle_rad_B is None else angle_rad_B
    parameters = _sent(np.stack([flip_B, np.cos(angles), np.sin(angles)], axis=1).astype(np.float32), plain.device)
    missing, step = wheel_ramps(plain.device, torch.float32)
    tiles.flow_colours[(batch * fields, triton.cdiv(height * width, BLOCK))](
        flow_BFHW2,
        parameters,
        missing,
        step,
        plain,
        plain if rotated is None else rotated,
        fields,
        height * width,
        width,
        ROTATED=rotated is not None,
        BLOCK=BLOCK,
    )
    return plain, rotated


def _parameters(draws: ColourDraws, flip_B: NDArray[np.bool_], *, frames: int, blur_px: int) -> NDArray[np.float32]:
    """One row a clip, as augment_tiles.py reads it."""
    batch = len(flip_B)
    blur_B = draws.blur_B & (blur_px > 1)
    factors = np.broadcast_to(draws.factors_B4T, (batch, 4, frames)).reshape(batch, -1)
    weights = blur_weights(draws.sigma_px_B, blur_px)
    flags = np.stack([flip_B, draws.jitter_B, draws.grey_B, blur_B], axis=1)
    contrast_B1 = (draws.order_B4 == 1).argmax(axis=1, keepdims=True)
    return np.concatenate([flags, draws.order_B4, contrast_B1, factors, weights], axis=1).astype(np.float32)


def _sent(numbers: NDArray[np.float32], device: torch.device) -> Tensor:
    """On the device; from pinned memory, so that nothing waits."""
    tensor = torch.from_numpy(numbers)
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor
