"""Flow rotation augmentation and per-field normalisation (METHOD 1.4, steps 1 and 2)."""

import torch
from torch import Tensor

from kernels.arrays import Array, ArrayT, flow_tensor, like, to_tensor
from kernels.errors import KernelInputError

NORMALISE_EPSILON_PX = 1e-5
"""Added to the largest radius before dividing, so that a still field stays zero."""


def largest_radius(flow: Tensor) -> Tensor:
    """Largest |(u, v)| of every field of (..., H, W, 2), shape (..., 1, 1, 1)."""
    u, v = flow[..., 0], flow[..., 1]
    return torch.sqrt(u * u + v * v).amax(dim=(-2, -1))[..., None, None, None]


def normalise_flow(flow: ArrayT) -> ArrayT:
    """Divide every field of (..., H, W, 2) by its own largest radius + 1e-5 px (METHOD 1.4.1).

    Training takes the radii from the flow store and divides in `mscl/pretrain/dataset.py`.

    Radii come out below 1 and an all-zero field stays zero. Float32, or float64 where the flow is.
    Raises KernelInputError for arrays that are no flow.
    """
    tensor = flow_tensor(flow)
    return like(tensor / (largest_radius(tensor) + NORMALISE_EPSILON_PX), flow)


def rotate_flow(flow: ArrayT, angle_rad: float | Array | Tensor) -> ArrayT:
    """Turn every vector of (..., H, W, 2) by `angle_rad` (METHOD 1.4.2); the pixels stay where they are.

    (u', v') = (cos b u - sin b v, sin b u + cos b v). With u to the right and v *down* a positive angle turns clockwise
    on the screen. `angle_rad` is one number, or an array that belongs to the leading axes of the flow: shape (B,) turns
    flow (B, T, H, W, 2) by one angle per sample.

    Raises KernelInputError when the angles' shape does not match the leading axes.
    """
    tensor = flow_tensor(flow)
    if isinstance(angle_rad, int | float):
        angle = torch.tensor(float(angle_rad), dtype=torch.float64)
    else:
        angle = to_tensor(angle_rad, "angle_rad").to(torch.float64)
    leading = tuple(tensor.shape[: angle.ndim])
    if angle.ndim > tensor.ndim - 1 or any(a not in (1, b) for a, b in zip(angle.shape, leading, strict=True)):
        raise KernelInputError(
            f"angle_rad has shape {tuple(angle.shape)}, flow {tuple(tensor.shape)}; "
            "give one number, or one angle for each index of the flow's leading axes"
        )
    angle = angle.reshape(tuple(angle.shape) + (1,) * (tensor.ndim - 1 - angle.ndim))
    # float64 until here: cos and sin of pi / 2 in float32 are off by more than a rounding
    cos = torch.cos(angle).to(tensor)
    sin = torch.sin(angle).to(tensor)
    u, v = tensor[..., 0], tensor[..., 1]
    return like(torch.stack((cos * u - sin * v, sin * u + cos * v), dim=-1), flow)
