"""Memory of batches."""

import math

import torch
from torch import Tensor
from torch.utils.data import get_worker_info


def batch_tensor(*shape: int, dtype: torch.dtype) -> Tensor:
    """Uninitialised CPU tensor that a batch is loaded into.

    In a loader's worker it lies in shared memory from the start, as in torch's own collation: the batch reaches the
    training process without a copy, and the worker's heap does not fill with blocks of the size of batches.
    """
    if get_worker_info() is None:
        return torch.empty(shape, dtype=dtype)
    storage = torch.UntypedStorage._new_shared(math.prod(shape) * dtype.itemsize)
    return torch.empty(0, dtype=dtype).set_(storage).view(shape)
