"""What a GPU without enough memory, and one that fails, say: one line each, and what to do."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from mscl.errors import CardError, CardMemoryError


@contextmanager
def card_errors(device: str | torch.device, *, advice: str) -> Iterator[None]:
    """Says in one line that the GPU runs out of memory or fails: its driver resets it, it falls off the bus.

    Args:
        advice: what to lower, e.g. "lower pretrain.batch_size".

    Raises:
        CardMemoryError, CardError: in place of PyTorch's errors.
    """
    try:
        yield
    except torch.OutOfMemoryError as error:
        told = " ".join(str(error).split(". ")[:2])
        raise CardMemoryError(f"the GPU has not enough memory ({told}); {advice}; what is done is kept") from error
    except torch.AcceleratorError as error:
        raise CardError(str(device), str(error).strip().partition("\n")[0]) from error
