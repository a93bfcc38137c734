"""Running out of the GPU's memory is one line."""

import pytest
import torch

from mscl.training.memory import CardMemoryError, card_memory

TOLD = "CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has a total capacity of 79.11 GiB of which 1.00 is free."


def test_one_line_says_what_to_lower() -> None:
    with pytest.raises(CardMemoryError) as caught, card_memory("lower pretrain.batch_size"):
        raise torch.OutOfMemoryError(TOLD + "\nmore")
    assert str(caught.value) == (
        "the GPU has not enough memory (CUDA out of memory Tried to allocate 20.00 GiB); lower pretrain.batch_size; "
        "checkpoints are kept"
    )


def test_other_errors_pass() -> None:
    with pytest.raises(RuntimeError, match="other"), card_memory("x"):
        raise RuntimeError("other")
