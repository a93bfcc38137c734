"""Memory of batches, and how they come from a loader's worker to the process that asked for them."""

import math
import os
from contextlib import suppress
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import get_worker_info

SHARED_MEMORY = Path("/dev/shm")
"""Where Linux keeps the memory that processes share: 64 MB in a container that nobody gave more."""


def batch_tensor(*shape: int, dtype: torch.dtype) -> Tensor:
    """Uninitialised CPU tensor that a batch is loaded into.

    In a loader's worker it lies in shared memory from the start, as in torch's own collation: the batch reaches the
    training process without a copy, and the worker's heap does not fill with blocks of the size of batches. Where that
    memory is full it is the worker's own: see `packed`.
    """
    tensor = torch.empty(shape, dtype=dtype)
    if get_worker_info() is not None and free_shared_bytes() >= tensor.nbytes:
        with suppress(RuntimeError):  # another process took the room
            tensor.share_memory_()
    return tensor


@dataclass(frozen=True)
class PipedBatch:
    """A batch that goes through the pipe between two processes, because shared memory has no room for it."""

    kind: type[Any]
    fields: dict[str, Any]
    """Arrays in place of tensors."""

    @property
    def num_bytes(self) -> int:
        """Size of all arrays."""
        return sum(value.nbytes for value in self.fields.values() if isinstance(value, np.ndarray))

    def unpacked(self) -> Any:
        """The batch."""
        return self.kind(
            **{name: torch.from_numpy(value) if isinstance(value, np.ndarray) else value
               for name, value in self.fields.items()}
        )  # fmt: skip


def packed(batch: Any) -> Any:
    """The batch as a worker sends it: its tensors in shared memory, or a `PipedBatch`.

    torch would do the first by itself, in a thread that on failure drops the batch: the training would wait for ever.
    """
    if get_worker_info() is None or not is_dataclass(batch) or isinstance(batch, type):
        return batch
    parts = {field.name: getattr(batch, field.name) for field in fields(batch)}
    tensors = [part for part in parts.values() if isinstance(part, Tensor)]
    page = os.sysconf("SC_PAGE_SIZE")
    lacking = sum(-(-tensor.nbytes // page) * page for tensor in tensors if not tensor.is_shared())
    try:
        if free_shared_bytes() < lacking:
            raise RuntimeError("shared memory is full")
        for tensor in tensors:
            tensor.share_memory_()
    except RuntimeError:
        arrays = {name: part.numpy() if isinstance(part, Tensor) else part for name, part in parts.items()}
        return PipedBatch(type(batch), arrays)
    return batch


def free_shared_bytes(folder: Path = SHARED_MEMORY) -> float:
    """Bytes that processes can still share; infinite where the system does not tell."""
    try:
        found = os.statvfs(folder)
    except OSError:
        return math.inf
    return found.f_bavail * found.f_frsize
