"""What a GPU without enough memory says: one line, and what to lower."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from mscl.errors import UserError


class CardMemoryError(UserError):
    """The memory of the GPU does not suffice."""


@contextmanager
def card_memory(advice: str) -> Iterator[None]:
    """Says running out of the card's memory in one line.

    Args:
        advice: what to lower, e.g. "lower pretrain.batch_size".

    Raises:
        CardMemoryError: in place of PyTorch's error.
    """
    try:
        yield
    except torch.OutOfMemoryError as error:
        told = " ".join(str(error).split(". ")[:2])
        raise CardMemoryError(f"the GPU has not enough memory ({told}); {advice}; checkpoints are kept") from error
