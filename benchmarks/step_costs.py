"""What a step costs, counted operation by operation while it runs (or while it runs on no data at all, device meta)."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class ByteCounter(TorchDispatchMode):
    """Bytes of all tensors that operations read and write, as if nothing were fused or cached."""

    total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if not func.is_view:
            tensors = [t for t in tree_leaves((args, kwargs, result)) if isinstance(t, Tensor)]
            self.total += sum(t.numel() * t.element_size() for t in tensors)
        return result


def taps(size: int, kernel: int, stride: int, padding: int) -> int:
    """Kernel taps that meet data, over all places of one dimension; the others meet padding."""
    places = range(-padding, size + padding - kernel + 1, stride)
    return sum(min(start + kernel, size) - max(start, 0) for start in places)


def without_padding() -> dict[Any, Callable[..., int]]:
    """Counts for torch's FlopCounterMode that leave out multiplications with padding, as good kernels do."""
    aten = torch.ops.aten
    return {aten.convolution: _forward, aten.convolution_backward: _backward}


def _forward(
    x: Any, weight: Any, _bias: Any, stride: Any, padding: Any, *_: Any, out_shape: Any = None, **__: Any
) -> int:
    flops: int = 2 * x[0] * weight[0] * weight[1]
    for dimension in zip(x[2:], weight[2:], stride, padding, strict=True):
        flops *= taps(*dimension)
    return flops


def _backward(
    _gradient: Any, x: Any, weight: Any, bias: Any, stride: Any, padding: Any, *rest: Any, out_shape: Any = None
) -> int:
    gradients = sum(map(bool, rest[-1][:2]))  # of the input, of the weight: each costs as much as the convolution
    return gradients * _forward(x, weight, bias, stride, padding)
