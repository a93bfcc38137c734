"""RAFT optical flow (Teed and Deng 2020): torchvision's networks with weights from a file or its own download."""

import functools
import os
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kernels.arrays import ArrayT, like, to_tensor
from kernels.errors import KernelInputError

RAFTVariant = Literal["small", "large"]
RAFT_VARIANTS = ("small", "large")

_STRIDE_PX = 8
_LEAST_SIDE_PX = 128
"""The correlation pyramid halves the features of stride 8 three times and needs two of them at the top."""
_CORRELATIONS_AT_ONCE = 1 << 28
"""Pairs go through in groups whose all-pairs correlation stays under 1 GiB."""


def raft_flow(
    first_B3HW: ArrayT,
    second_B3HW: ArrayT,
    *,
    variant: str = "large",
    weights: str | Path | None = None,
    num_updates: int = 12,
    bf16: bool = False,
) -> ArrayT:
    """Flow from the first frames to the second, float32 (B, H, W, 2) in px; NumPy or torch, on the frames' device.

    Frames are RGB (B, 3, H, W), uint8 or float in 0..255. Sides are padded by their edge to multiples of 8 and at least
    128, and the flow is cropped again. `weights` is a file with a state dict of torchvision's `raft_small` or
    `raft_large`; None is torchvision's own (trained on FlyingChairs and FlyingThings3D), downloaded or from its cache.
    `bf16` runs the network under autocast, on CUDA only: on a CPU it is 20 times slower.

    Raises KernelInputError for frames that do not fit together, NaN, weights that are missing or not this network's,
    and settings that do not exist.
    """
    first, second = _pair(first_B3HW, second_B3HW)
    if num_updates < 1:
        raise KernelInputError(f"num_updates is {num_updates}; give at least 1")
    if bf16 and first.device.type != "cuda":
        raise KernelInputError(f"bf16 is for CUDA, the frames are on {first.device}; leave it off")
    model = load_raft(variant, weights, first.device)
    batch, _, height, width = first.shape
    tall, wide = _padded(height), _padded(width)
    # half of the padding on either side, as the authors do
    top, left = (tall - height) // 2, (wide - width) // 2
    padding = (left, wide - width - left, top, tall - height - top)
    group = max(1, _CORRELATIONS_AT_ONCE // (tall * wide // _STRIDE_PX**2) ** 2)
    flow_BHW2 = torch.empty((batch, height, width, 2), device=first.device)
    for start in range(0, batch, group):
        pairs = slice(start, start + group)
        frames = [F.pad(x[pairs].float() / 127.5 - 1, padding, mode="replicate") for x in (first, second)]
        with torch.no_grad(), torch.autocast(first.device.type, torch.bfloat16, enabled=bf16):
            flow_B2HW = model(frames[0], frames[1], num_flow_updates=num_updates)[-1]
        flow_BHW2[pairs] = flow_B2HW[:, :, top : top + height, left : left + width].movedim(1, -1).float()
    return like(flow_BHW2, first_B3HW)


def load_raft(variant: str, weights: str | Path | None, device: torch.device) -> nn.Module:
    """The network with its weights, in evaluation mode; kept in memory per variant, file (as it is now) and device.

    Raises KernelInputError for an unknown variant, and for a file that is missing or holds something else.
    """
    if variant not in RAFT_VARIANTS:
        raise KernelInputError(f"no RAFT variant is called {variant!r}; choose one of {', '.join(RAFT_VARIANTS)}")
    if weights is None:
        return _load(variant, None, 0, device)
    path = Path(os.path.expanduser(weights))
    if not path.is_file():
        raise KernelInputError(f"RAFT weights {path} do not exist; give a file, or none to use torchvision's download")
    return _load(variant, path, path.stat().st_mtime_ns, device)


@functools.lru_cache(maxsize=4)
def _load(variant: str, path: Path | None, modified_ns: int, device: torch.device) -> nn.Module:
    from torchvision.models import optical_flow  # heavy

    build = {"small": optical_flow.raft_small, "large": optical_flow.raft_large}[variant]
    model = cast(nn.Module, build(weights=None, progress=False))
    state = _download(optical_flow, variant) if path is None else _read_state(path)
    try:
        model.load_state_dict(state, strict=True)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:300]
        raise KernelInputError(
            f"RAFT weights {path} are not those of torchvision's raft_{variant}: {reason} ...; "
            "choose the other variant, or convert the names of the tensors"
        ) from error
    return model.to(device).eval().requires_grad_(False)


def _download(optical_flow: Any, variant: str) -> Mapping[str, Any]:
    choice = {"small": "Raft_Small_Weights", "large": "Raft_Large_Weights"}[variant]
    weights = getattr(optical_flow, choice).C_T_V2
    try:
        return cast(Mapping[str, Any], weights.get_state_dict(progress=False, check_hash=True))
    except (OSError, RuntimeError) as error:  # no network, no disk, wrong hash
        raise KernelInputError(
            f"torchvision's RAFT weights cannot be fetched from {weights.url}: {error}; "
            "bring the file here and give its path as weights"
        ) from error


def _read_state(path: Path) -> Mapping[str, Any]:
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, EOFError, ValueError, LookupError, TypeError, AttributeError, RuntimeError) as error:
        raise _not_weights(path, error) from error
    except pickle.UnpicklingError as error:
        raise _not_weights(path, error) from error
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise KernelInputError(f"RAFT weights {path} hold a {type(state).__name__}; a dict of tensors is needed")
    return state


def _not_weights(path: Path, error: BaseException) -> KernelInputError:
    reason = " ".join(str(error).split())[:200] or type(error).__name__
    return KernelInputError(f"RAFT weights {path} are not a weights file (a state dict saved by torch.save): {reason}")


def _padded(side_px: int) -> int:
    return max(_LEAST_SIDE_PX, -(-side_px // _STRIDE_PX) * _STRIDE_PX)


def _pair(first: Any, second: Any) -> tuple[Tensor, Tensor]:
    a, b = to_tensor(first, "first_B3HW"), to_tensor(second, "second_B3HW")
    shapes = tuple(a.shape), tuple(b.shape)
    if shapes[0] != shapes[1] or len(shapes[0]) != 4 or shapes[0][1] != 3 or 0 in shapes[0][1:]:
        raise KernelInputError(
            f"first is {shapes[0]}, second is {shapes[1]}; both must be RGB (B, 3, H, W) of one size"
        )
    if a.dtype != b.dtype or a.device != b.device or not (a.dtype == torch.uint8 or a.is_floating_point()):
        raise KernelInputError(
            f"first is {a.dtype} on {a.device}, second {b.dtype} on {b.device}; give uint8 or float 0..255 twice"
        )
    if a.is_floating_point() and not bool(torch.isfinite(a).all() & torch.isfinite(b).all()):
        raise KernelInputError(f"the frames {shapes[0]} hold NaN or infinite values; RAFT needs finite ones in 0..255")
    return a, b
