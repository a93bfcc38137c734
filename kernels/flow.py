"""Optical flow of frame pairs and of whole sequences, by any method that we have (METHOD 1.1)."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from kernels.arrays import ArrayT, check_flow, like, to_tensor
from kernels.errors import KernelInputError
from kernels.flow_plugins import is_plugin, plugin_flow
from kernels.tvl1.validate import looks_like_one_colour_frame

if TYPE_CHECKING:
    import torch
    from torch import Tensor

METHODS = ("tvl1", "dis", "farneback", "raft_small", "raft_large")


def compute_flow(
    first_BHW3: ArrayT,
    second_BHW3: ArrayT,
    *,
    method: str,
    preset: str = "balanced",
    backend: str = "auto",
    raft_weights: str | Path | None = None,
    raft_updates: int = 20,
    raft_bf16: bool = False,
    weights: str | Path | None = None,
    device: str | torch.device = "cpu",
    threads: int = 1,
) -> ArrayT:
    """Flow from the first frames to the second, float32 (B, H, W, 2): u right, v down, in px.

    Frames are uint8 RGB (B, H, W, 3) or grey (B, H, W), NumPy or torch; the result is of the same kind on the same
    device. `preset`, `backend` and `threads` belong to TV-L1, `raft_*` to RAFT, `weights` to the methods of others
    (`ptlflow:NAME`, `module:function`). `device` is where TV-L1 and networks work when the frames are NumPy; DIS and
    Farneback always work on the CPU.

    Raises KernelInputError for frames that do not fit together, and names that do not exist.
    """
    _check_frames(first_BHW3, second_BHW3)
    if method not in METHODS and not is_plugin(method):
        raise KernelInputError(
            f"no flow method is called {method!r}; choose one of {', '.join(METHODS)}, ptlflow:NAME or module:function"
        )
    is_cpu = str(device).partition(":")[0] == "cpu"
    if isinstance(first_BHW3, np.ndarray) and not is_cpu and method not in ("dis", "farneback"):
        moved = [to_tensor(frames, "frames").to(device) for frames in (first_BHW3, second_BHW3)]
        flow = compute_flow(
            moved[0], moved[1], method=method, preset=preset, backend=backend,
            raft_weights=raft_weights, raft_updates=raft_updates, raft_bf16=raft_bf16, weights=weights,
        )  # fmt: skip
        return like(flow.cpu(), first_BHW3)
    if is_plugin(method):
        import torch

        where = torch.device("cpu") if isinstance(first_BHW3, np.ndarray) else first_BHW3.device
        return plugin_flow(first_BHW3, second_BHW3, method=method, weights=weights, device=where)
    if method.startswith("raft"):
        from kernels.raft import raft_flow

        return raft_flow(
            _channels_first(first_BHW3), _channels_first(second_BHW3),
            variant=method.removeprefix("raft_"), weights=raft_weights, num_updates=raft_updates, bf16=raft_bf16,
        )  # fmt: skip
    first_BHW, second_BHW = to_grey(first_BHW3), to_grey(second_BHW3)
    if method == "tvl1":
        from kernels.tvl1 import PRESETS, tvl1_flow

        if preset not in PRESETS:
            raise KernelInputError(f"no TV-L1 preset is called {preset!r}; choose one of {', '.join(PRESETS)}")
        return tvl1_flow(first_BHW, second_BHW, params=PRESETS[preset], backend=backend, threads=threads)
    from kernels.dense import dis_flow, farneback_flow

    return dis_flow(first_BHW, second_BHW) if method == "dis" else farneback_flow(first_BHW, second_BHW)


def to_grey(frames_BHW3: ArrayT) -> ArrayT:
    """Grey (B, H, W) of uint8 RGB, the same numbers as OpenCV's RGB2GRAY; grey frames are returned as they are."""
    if frames_BHW3.ndim == 3:
        return frames_BHW3
    if isinstance(frames_BHW3, np.ndarray):
        batch, height, width, _ = frames_BHW3.shape
        if frames_BHW3.size == 0:
            return np.empty((batch, height, width), np.uint8)
        tall = np.ascontiguousarray(frames_BHW3).reshape(batch * height, width, 3)
        return np.asarray(cv2.cvtColor(tall, cv2.COLOR_RGB2GRAY)).reshape(batch, height, width)
    import torch

    red, green, blue = frames_BHW3.to(torch.int32).unbind(dim=-1)
    return ((red * 9798 + green * 19235 + blue * 3735 + (1 << 14)) >> 15).to(torch.uint8)  # 15-bit .299, .587, .114


def resize_flow(flow_BHW2: ArrayT, height: int, width: int) -> ArrayT:
    """Flow on another grid, float32 (B, height, width, 2), the vectors in px of that grid.

    Every new pixel is the mean over the area that it covers; a grid that grows in either direction is bilinear.
    Raises KernelInputError for arrays that are no flow and sizes under 1 x 1.
    """
    check_flow(flow_BHW2, "flow_BHW2", ndim=4)
    if height < 1 or width < 1:
        raise KernelInputError(f"the new grid is {height} x {width}; give at least 1 x 1")
    if isinstance(flow_BHW2, np.ndarray):
        return _resize_on_cpu(flow_BHW2.astype(np.float32, copy=False), height, width)
    import torch
    from torch.nn import functional as F

    _, old_height, old_width, _ = flow_BHW2.shape
    tensor = flow_BHW2.detach().float()
    if (height, width) == (old_height, old_width):
        return tensor
    if tensor.device.type == "cpu":
        return torch.from_numpy(_resize_on_cpu(tensor.numpy(), height, width))
    flow_B2HW = tensor.movedim(-1, 1)
    if height <= old_height and width <= old_width:
        rows, columns = (
            _area_weights(old, new, tensor.device) for old, new in ((old_height, height), (old_width, width))
        )
        flow_B2HW = rows @ flow_B2HW @ columns.T
    else:
        flow_B2HW = F.interpolate(flow_B2HW, size=(height, width), mode="bilinear", align_corners=False)
    return torch.stack([flow_B2HW[:, 0] * (width / old_width), flow_B2HW[:, 1] * (height / old_height)], dim=-1)


def _resize_on_cpu(flow_BHW2: NDArray[np.float32], height: int, width: int) -> NDArray[np.float32]:
    batch, old_height, old_width, _ = flow_BHW2.shape
    if (height, width) == (old_height, old_width):
        return flow_BHW2
    how = cv2.INTER_AREA if height <= old_height and width <= old_width else cv2.INTER_LINEAR
    resized_BHW2 = np.empty((batch, height, width, 2), np.float32)
    for field, resized in zip(np.ascontiguousarray(flow_BHW2), resized_BHW2, strict=True):
        cv2.resize(field, (width, height), dst=resized, interpolation=how)
    # Whole rows: a factor that is repeated every two numbers costs ten times as much.
    lines = resized_BHW2.reshape(batch * height, 2 * width)
    scale = np.array((width / old_width, height / old_height), np.float32)
    np.multiply(lines, np.tile(scale, width), out=lines)
    return resized_BHW2


@functools.lru_cache(maxsize=64)
def _area_weights(old: int, new: int, device: torch.device) -> Tensor:
    """How much of each old pixel lies in each new one, rows sum to 1; (new, old) float32, kept on the device."""
    import torch

    edges = torch.arange(new + 1, dtype=torch.float64) * (old / new)
    pixel = torch.arange(old, dtype=torch.float64)
    overlap = torch.minimum(edges[1:, None], pixel + 1) - torch.maximum(edges[:-1, None], pixel)
    return (overlap.clamp_(min=0) * (new / old)).to(device, torch.float32)


def _check_frames(first: NDArray[np.generic] | Tensor, second: NDArray[np.generic] | Tensor) -> None:
    shapes = [tuple(frames.shape) for frames in (first, second)]
    right = len(shapes[0]) == 3 or (len(shapes[0]) == 4 and shapes[0][-1] == 3)
    if shapes[0] != shapes[1] or not right or 0 in shapes[0][1:]:
        raise KernelInputError(
            f"first is {shapes[0]}, second is {shapes[1]}; both must be RGB (B, H, W, 3) or grey (B, H, W) of one size"
        )
    if looks_like_one_colour_frame(shapes[0]):
        raise KernelInputError(
            f"the frames are {shapes[0]}, which is one RGB frame or grey ones 3 px wide: give a batch axis "
            "(frame[None]), or pad such narrow frames"
        )
    names = [str(frames.dtype).removeprefix("torch.") for frames in (first, second)]
    if names != ["uint8", "uint8"]:
        raise KernelInputError(f"first is {names[0]}, second is {names[1]}; frames must be uint8, 0..255")


def _channels_first(frames: ArrayT) -> ArrayT:
    tensor = to_tensor(frames, "frames")
    tensor = tensor.movedim(-1, 1) if tensor.ndim == 4 else tensor[:, None].expand(-1, 3, -1, -1)
    return like(tensor, frames)
