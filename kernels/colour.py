"""Flow as colour: hue is the direction, saturation the speed (Baker et al. 2011, Middlebury; METHOD 1.4.6)."""

import functools
import math

import torch
from torch import Tensor

from kernels.arrays import ArrayT, flow_tensor, like
from kernels.errors import KernelInputError
from kernels.rotation import NORMALISE_EPSILON_PX, largest_radius

_ARCS = (("R", "Y", 15), ("Y", "G", 6), ("G", "C", 4), ("C", "B", 11), ("B", "M", 13), ("M", "R", 6))
_CORNERS = {"R": (255, 0, 0), "Y": (255, 255, 0), "G": (0, 255, 0), "C": (0, 255, 255), "B": (0, 0, 255)} | {
    "M": (255, 0, 255)
}
WHEEL_SIZE = sum(count for _, _, count in _ARCS)


def colour_wheel() -> Tensor:
    """The 55 colours of the Middlebury wheel, (55, 3) float64 in 0..255; arcs RY 15, YG 6, GC 4, CB 11, BM 13, MR 6."""
    rows = []
    for start, end, count in _ARCS:
        for step in range(count):
            ramp = math.floor(255 * step / count)
            rows.append([a + ramp * ((b > a) - (b < a)) for a, b in zip(_CORNERS[start], _CORNERS[end], strict=True)])
    return torch.tensor(rows, dtype=torch.float64)


@functools.lru_cache(maxsize=32)
def wheel_ramps(device: torch.device, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """For each channel, the *missing* colour 255 - wheel[k], and its step to the next k; both (3, 55), contiguous.

    The picture is 255 - radius * missing: what white loses to the hue.
    """
    missing = 255.0 - colour_wheel().T
    step = torch.roll(missing, -1, dims=1) - missing
    return missing.to(device, dtype).contiguous(), step.to(device, dtype).contiguous()


def wheel_position(u: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    """Where directions fall on the wheel: index 0..54 (int32) and the fraction of the way to the next colour."""
    position = torch.atan2(-v, -u).div_(math.pi).add_(1).mul_((WHEEL_SIZE - 1) / 2)
    index = position.to(torch.int32).clamp_(0, WHEEL_SIZE - 1)  # positions are >= 0: truncation is floor
    return index, position.sub_(index)


def lookup(table_K: Tensor, index: Tensor) -> Tensor:
    """table[index]; by index_select, which is 2 to 6 times faster on a CPU than `take` or plain indexing."""
    return table_K.index_select(0, index.reshape(-1)).view(index.shape)


def _paint(u: Tensor, v: Tensor, radius: Tensor, channel_dim: int) -> Tensor:
    """floor(255 colour) of normalised flow, the channels on a new axis."""
    index, fraction = wheel_position(u, v)
    missing_3K, step_3K = wheel_ramps(u.device, u.dtype)
    inside = radius <= 1
    channels = []
    for missing_K, step_K in zip(missing_3K, step_3K, strict=True):
        missing = lookup(missing_K, index).addcmul_(fraction, lookup(step_K, index))
        painted = torch.where(inside, 255 - radius * missing, 0.75 * (255 - missing))
        channels.append(painted.floor_().clamp_(0, 255))
    return torch.stack(channels, dim=channel_dim)


def flow_to_rgb_unit(flow: Tensor) -> Tensor:
    """Colours of flow that is normalised already, for training: (..., 2, H, W) -> (..., 3, H, W) float32 in [0, 1].

    floor(255 colour) / 255; radii above 1 (rotation and resizing make none worth mentioning, a scale per clip does)
    are darkened to .75 colour, as in METHOD 1.4.6. Batched, on the flow's device, without a host synchronisation: NaN
    is not looked for and comes out as NaN.

    Raises KernelInputError for other shapes.
    """
    if flow.ndim < 3 or flow.shape[-3] != 2:
        raise KernelInputError(f"flow has shape {tuple(flow.shape)}; (..., 2, H, W) is needed, (u, v) normalised")
    flow = flow.detach().to(torch.float32)
    u, v = flow.unbind(dim=-3)
    return _paint(u, v, torch.sqrt(u * u + v * v), -3).div_(255)


def flow_to_rgb(flow: ArrayT) -> ArrayT:
    """Picture of flow in px: (H, W, 2) -> uint8 (H, W, 3), or (..., H, W, 2) -> (..., H, W, 3).

    Every field is divided by its own largest radius + 1e-5 px first (METHOD 1.2.3), so a still field is white.
    Positions on the wheel are found in the flow's own precision, colours are mixed in float64.

    Raises KernelInputError for arrays that are no flow, and for NaN or infinite vectors.
    """
    tensor = flow_tensor(flow)
    scale = largest_radius(tensor)
    if not bool(torch.isfinite(scale).all()):
        raise KernelInputError(
            f"flow of shape {tuple(tensor.shape)} holds NaN or infinite vectors; set those to 0 first"
        )
    u, v = (tensor / (scale + NORMALISE_EPSILON_PX)).unbind(dim=-1)
    # rounding may lift the largest radius over 1, which would darken that pixel
    radius = torch.sqrt(u * u + v * v).clamp_(max=1)
    return like(_paint_exact(u, v, radius).to(torch.uint8), flow)


def _paint_exact(u: Tensor, v: Tensor, radius: Tensor) -> Tensor:
    index, fraction = wheel_position(u, v)
    missing_3K, step_3K = wheel_ramps(u.device, torch.float64)
    missing = missing_3K.T[index] + fraction[..., None] * step_3K.T[index]
    return torch.floor(255 - radius[..., None] * missing)
