"""In which precision networks run: said once for pre-training, fine-tuning, embedding and prediction."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch

from mscl.training.config import Precision


def autocast_dtype(precision: Precision, device: torch.device, *, native_bf16: bool | None = None) -> torch.dtype:
    """float32: no autocast. `auto`: bfloat16 on CUDA where the card has it, float16 on older cards, float32 on a CPU.

    Args:
        native_bf16: whether the card multiplies bfloat16 itself (compute capability 8.0 on); None: ask it.
    """
    if precision == "auto":
        if device.type != "cuda":
            return torch.float32
        if native_bf16 is None:
            native_bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
        return torch.bfloat16 if native_bf16 else torch.float16
    return {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]


def autocast_of(precision: Precision, device: torch.device) -> Callable[[], AbstractContextManager[None]]:
    """A maker of contexts for the networks' forward passes."""
    dtype = autocast_dtype(precision, device)
    if dtype == torch.float32:
        return nullcontext
    return lambda: torch.autocast(device.type, dtype=dtype)


def gradient_scaler(precision: Precision, device: torch.device) -> torch.amp.GradScaler:
    """Scales the loss for float16, whose small gradients vanish; for every other precision it changes nothing.

    Its `state_dict` belongs into the checkpoint (empty where it changes nothing).
    """
    return torch.amp.GradScaler(device.type, enabled=autocast_dtype(precision, device) == torch.float16)


def allow_tf32(device: torch.device) -> None:
    """On CUDA, what stays float32 is multiplied as TF32 (10 bits of mantissa). For the process; call it at its start.

    That is the heads and the logits against the queues in training, and all of a network in fp32.
    """
    if device.type == "cuda":
        torch.backends.cuda.matmul.allow_tf32 = True
        torch.backends.cudnn.allow_tf32 = True
