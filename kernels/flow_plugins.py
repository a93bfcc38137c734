"""Flow by networks and functions that are not ours: `ptlflow:NAME`, and `module:function` for one's own.

Both give a function of uint8 RGB frames, torch (B, H, W, 3), that returns flow (B, H, W, 2), u right and v down in px.
What comes back is checked; what goes wrong inside is said with the method's name.
"""

from __future__ import annotations

import functools
import importlib
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kernels.arrays import ArrayT, like, to_tensor
from kernels.errors import KernelInputError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

PTLFLOW = "ptlflow"
FlowFunction = Callable[..., Any]


def is_plugin(method: str) -> bool:
    """Whether the method is one of others: its name has a colon."""
    return ":" in method


def plugin_flow(
    first_BHW3: ArrayT, second_BHW3: ArrayT, *, method: str, weights: str | Path | None, device: torch.device
) -> ArrayT:
    """Flow by the method, float32 (B, H, W, 2); grey frames are shown as RGB.

    The method has frames of its own to write into, and what it returns is copied: it may return the same memory again.

    Raises KernelInputError where there is no such method, and where what it returns is no finite flow of the frames.
    """
    import torch

    find = load_plugin(method, weights, device)
    first: Tensor = _rgb(to_tensor(first_BHW3, "frames"))
    second: Tensor = _rgb(to_tensor(second_BHW3, "frames"))
    expected = (*first.shape[:3], 2)
    try:
        with torch.no_grad():
            flow = find(first.clone(), second.clone())
    except Exception as error:  # whatever a stranger's code raises
        reason = " ".join(str(error).split())[:300]
        raise KernelInputError(
            f"{method} fails on frames of shape {tuple(first.shape)}: {type(error).__name__}: {reason}"
        ) from error
    shapes = f"for frames of shape {tuple(first.shape)}; floating point flow (B, H, W, 2), here {expected}, is needed"
    if not isinstance(flow, torch.Tensor):
        raise KernelInputError(f"{method} returns a {type(flow).__name__}, no torch.Tensor, {shapes}")
    if flow.is_meta or flow.layout != torch.strided:
        raise KernelInputError(f"{method} returns a tensor without values of its own, {flow.layout}, {shapes}")
    if tuple(flow.shape) != expected or not flow.is_floating_point():
        raise KernelInputError(f"{method} returns {tuple(flow.shape)} {flow.dtype} {shapes}")
    if bad := int((~torch.isfinite(flow)).sum()):
        raise KernelInputError(f"{method} returns {tuple(flow.shape)} with {bad} values NaN or infinite {shapes}")
    return like(flow.detach().to(first.device, torch.float32, copy=True), first_BHW3)


def load_plugin(method: str, weights: str | Path | None, device: torch.device) -> FlowFunction:
    """The method, ready; kept in memory by name, weights file (as it is now) and device.

    Raises KernelInputError where it is not installed or not known, and for weights that are missing or another's.
    """
    path = Path(os.path.expanduser(weights)) if weights else None
    if path is not None and not path.is_file():
        raise KernelInputError(f"weights {path} of {method} do not exist, or are no file; check the path")
    module, _, name = method.partition(":")
    modified_ns = path.stat().st_mtime_ns if path else 0
    return _ptlflow(name, path, modified_ns, device) if module == PTLFLOW else _own(module, name, path)


def _own(module: str, name: str, weights: Path | None) -> FlowFunction:
    try:
        found: Any = functools.reduce(getattr, name.split("."), importlib.import_module(module))
    except ModuleNotFoundError as error:
        raise KernelInputError(
            f"flow method {module}:{name}: {error}; install it, or add its folder to PYTHONPATH"
        ) from error
    except Exception as error:  # whatever importing a stranger's code raises
        raise KernelInputError(f"flow method {module}:{name}: {type(error).__name__}: {error}") from error
    if not callable(found):
        raise KernelInputError(f"flow method {module}:{name} is a {type(found).__name__}, and no function")
    function: FlowFunction = found
    return functools.partial(function, weights=str(weights)) if weights else function


@functools.lru_cache(maxsize=4)
def _ptlflow(name: str, weights: Path | None, modified_ns: int, device: torch.device) -> FlowFunction:
    import torch

    try:
        ptlflow = importlib.import_module(PTLFLOW)
    except ModuleNotFoundError as error:
        raise KernelInputError(
            f"ptlflow:{name}: {error}; `pip install mscl-pipeline[ptlflow]`, then `pip install --no-deps ptlflow`"
        ) from error
    if name not in (known := ptlflow.get_model_names()):
        raise KernelInputError(f"ptlflow has no network {name!r}; it has {', '.join(known)}")
    if weights is None:
        raise KernelInputError(f"ptlflow:{name} needs a weights file: give its checkpoint as flow.weights")
    try:
        model = ptlflow.get_model(name, ckpt_path=str(weights))
    except (RuntimeError, KeyError, ValueError, TypeError, EOFError, OSError, pickle.UnpicklingError) as error:
        reason = " ".join(str(error).split())[:200]
        raise KernelInputError(f"{weights} does not hold the weights of ptlflow's {name}: {reason}") from error
    model = model.to(device).eval().requires_grad_(False)

    def find(first_BHW3: Tensor, second_BHW3: Tensor) -> Tensor:
        # ptlflow's networks take pairs as OpenCV reads them, BGR in 0..1, and pad them themselves.
        images_B2HW3 = torch.stack([first_BHW3, second_BHW3], dim=1).flip(-1)
        flows = model({"images": images_B2HW3.movedim(-1, 2).contiguous().float() / 255})["flows"]
        return torch.as_tensor(flows)[:, 0].movedim(1, -1)

    return find


def _rgb(frames: Tensor) -> Tensor:
    return frames if frames.ndim == 4 else frames[..., None].expand(*frames.shape, 3).contiguous()
