"""In which precision networks run: said once for pre-training, fine-tuning, embedding and prediction."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import torch
import torch.distributed as dist
from torch.nn import functional as F

from mscl.errors import ConfigError
from mscl.training.config import Precision
from mscl.training.distributed import World

_STEPS_WORTH_TIMING = 1000
_MOST_OFF = 0.05
"""Of a gradient; rounding to bfloat16 makes .003."""
_CONVOLUTIONS = ((3, 1, 1), (3, 1, 2), (3, 1, 4), (3, 2, 2), (5, 2, 4), (5, 2, 8))
"""Kernel and stride along time, and moments, of convolutions as R18 and R50 have them."""
_DTYPES: dict[Precision, torch.dtype] = {"fp16": torch.float16, "bf16": torch.bfloat16, "fp32": torch.float32}


def autocast_dtype(precision: Precision, device: torch.device, *, native_bf16: bool | None = None) -> torch.dtype:
    """float32: no autocast. `auto`: bfloat16 on CUDA where the card has it, float16 on older cards, float32 on a CPU.

    Args:
        native_bf16: whether the card multiplies bfloat16 itself (compute capability 8.0 on); None: ask it.
    """
    if precision == "auto":
        if device.type != "cuda":
            return torch.float32
        return torch.bfloat16 if (_native_bf16(device) if native_bf16 is None else native_bf16) else torch.float16
    return _DTYPES[precision]


def agreed_precision(precision: Precision, world: World) -> Precision:
    """What `auto` means for processes that train together: the same on all, so bfloat16 only where every card has it.

    Gradients of a process that scales them for float16 and of one that does not would add up to nonsense.
    """
    if precision != "auto" or world.size == 1:
        return precision
    lowest = lowest_of_ranks(autocast_dtype(precision, world.device), world)
    return next(name for name, dtype in _DTYPES.items() if dtype == lowest)


def refuse_wrong_gradients(precision: Precision, device: torch.device | str, *, setting: str) -> None:
    """Refuse to train in bfloat16 on a CPU on which PyTorch gets that wrong.

    A CPU with AVX-512 and no bfloat16 of its own is given a kernel that leaves part of the weights' gradient unwritten
    where a convolution of three moments goes over two (PyTorch 2.14), as in an R18 of clips of 8 frames: what was in
    memory before is then the gradient.

    Raises:
        ConfigError: so it is here.
    """
    if precision != "bf16" or torch.device(device).type != "cpu":
        return
    if not gradient_error(torch.bfloat16) < _MOST_OFF:  # NaN, too
        raise ConfigError(
            f"{setting} is bf16, and on this CPU PyTorch {torch.__version__} gets gradients of 3D convolutions wrong "
            "in bfloat16, as a short check shows; take auto, which is float32 here, or train on a GPU"
        )


def gradient_error(dtype: torch.dtype) -> float:
    """How far gradients of small 3D convolutions on this CPU lie from those in float32: the most, by their length."""
    draws, off = torch.Generator().manual_seed(0), []
    for kernel, stride, moments in _CONVOLUTIONS:
        clip_BCTHW = torch.randn(2, 16, moments, 6, 6, generator=draws)
        weight, found = torch.randn(16, 16, kernel, 3, 3, generator=draws), []
        for wanted in (dtype, torch.float32):  # this last: what it leaves in memory would be right by chance
            own = weight.to(wanted, copy=True).requires_grad_()
            y_BCTHW = F.conv3d(clip_BCTHW.to(wanted), own, stride=(stride, 1, 1), padding=(kernel // 2, 1, 1))
            found.append(torch.autograd.grad(y_BCTHW.float().square().sum(), own)[0].float())
        off.append((found[0] - found[1]).norm() / found[1].norm())
    return float(torch.stack(off).max())  # NaN, where one is


def lowest_of_ranks(dtype: torch.dtype, world: World) -> torch.dtype:
    """The first in the order of `fp16`, `bf16`, `fp32` of what the processes have."""
    order = list(_DTYPES.values())
    place = torch.tensor(order.index(dtype), device=world.device)
    dist.all_reduce(place, op=dist.ReduceOp.MIN)
    return order[int(place)]


def autocast_of(precision: Precision, device: torch.device) -> Callable[[], AbstractContextManager[None]]:
    """A maker of contexts for the networks' forward passes."""
    dtype = autocast_dtype(precision, device)
    if dtype == torch.float32:  # said, too, where the caller of a forward pass is under an autocast of his own
        return lambda: torch.autocast(device.type, enabled=False)
    return lambda: torch.autocast(device.type, dtype=dtype)


@contextmanager
def inference(precision: Precision, device: torch.device) -> Iterator[None]:
    """Forward passes of embedding and prediction: without gradients, in the precision that training would take."""
    with torch.inference_mode(), tf32(device), autocast_of(precision, device)():
        yield


def gradient_scaler(precision: Precision, device: torch.device) -> torch.amp.GradScaler:
    """Scales the loss for float16, whose small gradients vanish; for every other precision it changes nothing.

    Its `state_dict` belongs into the checkpoint (empty where it changes nothing).
    """
    return torch.amp.GradScaler(device.type, enabled=autocast_dtype(precision, device) == torch.float16)


@contextmanager
def tf32(device: torch.device) -> Iterator[None]:
    """On CUDA, what stays float32 is multiplied as TF32 (10 bits of mantissa), and afterwards as before.

    That is the heads and the logits against the queues in training, and all of a network in fp32.
    """
    if device.type != "cuda":
        yield
        return
    products, convolutions = torch.backends.cuda.matmul, torch.backends.cudnn
    before = products.allow_tf32, convolutions.allow_tf32
    products.allow_tf32 = convolutions.allow_tf32 = True
    try:
        yield
    finally:
        products.allow_tf32, convolutions.allow_tf32 = before


@contextmanager
def fastest_convolutions(device: torch.device, steps: int) -> Iterator[None]:
    """On CUDA, cuDNN times its algorithms for every shape at its first step, where `steps` to come are worth it.

    A step of R18 is a tenth faster then (docs/gpu.md), and the first takes seconds longer.
    """
    library = torch.backends.cudnn
    before = library.benchmark
    library.benchmark = before or (device.type == "cuda" and steps >= _STEPS_WORTH_TIMING)
    try:
        yield
    finally:
        library.benchmark = before


def _native_bf16(device: torch.device) -> bool:
    with torch.cuda.device(device):
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
