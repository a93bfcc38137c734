"""What the entry accepts, said before any backend starts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from kernels.errors import KernelInputError

if TYPE_CHECKING:
    import torch

    Grey = np.ndarray | torch.Tensor


MAX_GREY = 1e4
"""Beyond it a float frame is no grey image; the compiled backends count on finite arithmetic."""


def is_torch(array: object) -> bool:
    """True for a torch tensor, without importing torch."""
    return type(array).__module__.partition(".")[0] == "torch" and hasattr(array, "is_cuda")


def looks_like_one_colour_frame(shape: tuple[int, ...]) -> bool:
    """Whether an array is more likely (H, W, 3) than (B, H, W): the flow of its rows would be an answer, too."""
    return len(shape) == 3 and shape[2] == 3 and min(shape[:2]) > 3


def check_pair(first_BHW: Grey, second_BHW: Grey, *, min_side_px: int = 1) -> None:
    """Raise KernelInputError unless both are finite grey batches of one shape, dtype, kind and device."""
    if is_torch(first_BHW) != is_torch(second_BHW) or not (
        is_torch(first_BHW) or (isinstance(first_BHW, np.ndarray) and isinstance(second_BHW, np.ndarray))
    ):
        raise KernelInputError(
            f"first is {type(first_BHW).__name__}, second is {type(second_BHW).__name__}: "
            "give two NumPy arrays or two torch tensors"
        )
    shapes = tuple(first_BHW.shape), tuple(second_BHW.shape)
    if shapes[0] != shapes[1]:
        raise KernelInputError(f"first is {shapes[0]}, second is {shapes[1]}: both must be (B, H, W) of one size")
    if len(shapes[0]) != 3:
        raise KernelInputError(
            f"the frames are {shapes[0]}, expected grey (B, H, W): a single pair needs a batch axis (frame[None]), "
            "colour needs a conversion to grey"
        )
    if looks_like_one_colour_frame(shapes[0]):
        raise KernelInputError(
            f"the frames are {shapes[0]}, which is one RGB frame or grey ones 3 px wide: convert colour to "
            "grey and give a batch axis (grey[None]), or pad such narrow frames"
        )
    if first_BHW.dtype != second_BHW.dtype:
        raise KernelInputError(f"first is {first_BHW.dtype}, second is {second_BHW.dtype}: convert one of them")
    name = str(first_BHW.dtype).removeprefix("torch.")
    if name != "uint8" and not name.startswith(("float", "bfloat")):
        raise KernelInputError(f"the frames are {name}, expected uint8 or a float type with grey values 0..255")
    if is_torch(first_BHW) and first_BHW.device != second_BHW.device:
        raise KernelInputError(f"first is on {first_BHW.device}, second on {second_BHW.device}: move one of them")
    if min(shapes[0][1:]) < min_side_px:
        raise KernelInputError(
            f"the frames are {shapes[0][1]}x{shapes[0][2]} px, this backend needs at least {min_side_px}x{min_side_px}"
        )
    if name != "uint8" and shapes[0][0] > 0:
        for side, frames in (("first", first_BHW), ("second", second_BHW)):
            low, high = float(frames.min()), float(frames.max())
            if not (np.isfinite(low) and np.isfinite(high)):
                raise KernelInputError(
                    f"{side} has NaN or infinite values (min {low}, max {high}), expected finite grey values 0..255"
                )
            if max(-low, high) > MAX_GREY:
                raise KernelInputError(
                    f"{side} has values of {low:g} to {high:g}, expected grey values 0..255: rescale it"
                )
