"""NumPy in gives NumPy out, torch in gives torch out on the same device: one torch implementation serves both.

PyTorch is imported where tensors are made: a process that computes flow of NumPy frames on the CPU does without.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from kernels.errors import KernelInputError

if TYPE_CHECKING:
    from torch import Tensor

Array = NDArray[Any]
ArrayT = TypeVar("ArrayT", NDArray[Any], "Tensor")


def to_tensor(array: Array | Tensor, name: str) -> Tensor:
    """The array as a tensor, without a copy where NumPy's memory allows it (writable, no negative strides)."""
    import torch

    _check_kind(array, name)
    if isinstance(array, torch.Tensor):
        return array.detach()
    shareable = array.flags.writeable and all(stride >= 0 for stride in array.strides)
    return torch.from_numpy(array if shareable else array.copy())


def like(result: Tensor, source: ArrayT) -> ArrayT:
    """`result` as the kind of array that `source` is."""
    if isinstance(source, np.ndarray):
        return result.numpy()
    return result


def flow_tensor(flow: Array | Tensor, name: str = "flow", *, ndim: int | None = None) -> Tensor:
    """Flow (..., H, W, 2) as float32, or float64 where it came so.

    Raises KernelInputError as `check_flow`.
    """
    import torch

    check_flow(flow, name, ndim=ndim)
    tensor = to_tensor(flow, name)
    return tensor if tensor.dtype == torch.float64 else tensor.to(torch.float32)


def check_flow(flow: Array | Tensor, name: str = "flow", *, ndim: int | None = None) -> None:
    """Raise KernelInputError unless it is flow (..., H, W, 2).

    So for another number of axes than `ndim`, a last axis other than 2, an empty grid, integers.
    """
    _check_kind(flow, name)
    shape = tuple(flow.shape)
    if (ndim is not None and len(shape) != ndim) or len(shape) < 3 or shape[-1] != 2:
        wanted = {3: "(H, W, 2)", 4: "(M, H, W, 2)"}.get(ndim or 0, "(..., H, W, 2)")
        raise KernelInputError(f"{name} has shape {shape}; {wanted} is needed, with (u, v) in px on the last axis")
    if 0 in shape[-3:]:
        raise KernelInputError(f"{name} has shape {shape}: a field without pixels; give at least 1 x 1")
    if not str(flow.dtype).removeprefix("torch.").startswith(("float", "bfloat")):
        raise KernelInputError(f"{name} has dtype {flow.dtype}; give floating point px (dequantise first)")


def _check_kind(array: Array | Tensor, name: str) -> None:
    if isinstance(array, np.ndarray):
        if array.dtype == object or array.dtype.byteorder == ">":
            raise KernelInputError(f"{name} has dtype {array.dtype}; convert it to the machine's own numbers")
        return
    import torch

    if not isinstance(array, torch.Tensor):
        raise KernelInputError(f"{name} is a {type(array).__name__}; give a numpy.ndarray or torch.Tensor")
