"""The entry: checks the pair, picks a backend, gives back what it was given (NumPy or torch, same device)."""

from __future__ import annotations

import functools
import importlib.util
import os
import warnings
from typing import TYPE_CHECKING, Literal, NamedTuple, cast, overload

import numpy as np
from numpy.typing import NDArray

from kernels.errors import KernelInputError
from kernels.tvl1.params import BALANCED, TVL1Params
from kernels.tvl1.validate import check_pair, is_torch

if TYPE_CHECKING:
    import torch

Backend = Literal["auto", "cpp", "triton", "torch", "opencv"]
BACKENDS = ("cpp", "triton", "torch", "opencv")


class Availability(NamedTuple):
    """Whether a backend can run here, and why (not)."""

    name: str
    available: bool
    reason: str


def backends() -> list[Availability]:
    """Every backend with whether it can run here and a reason a person can act on (`mscl doctor` prints it)."""

    return [
        Availability("cpp", *_library()),
        Availability("triton", *_triton()),
        Availability("torch", *_module("torch", "the oracle; any device")),
        Availability("opencv", *_module("cv2", "OpenCV's DualTVL1, one core, slow")),
    ]


def _library() -> tuple[bool, str]:
    from kernels.tvl1 import native

    try:
        native.library()
    except KernelInputError as error:
        return False, str(error)
    return True, "_tvl1.so"


def _module(name: str, note: str) -> tuple[bool, str]:
    found = importlib.util.find_spec(name) is not None
    return found, note if found else f"{name} is not installed"


def _triton() -> tuple[bool, str]:
    if importlib.util.find_spec("triton") is None:
        return False, "triton is not installed"
    import torch

    if not torch.cuda.is_available():
        return False, "no CUDA device"
    return True, f"{torch.cuda.get_device_name()}"


@functools.cache
def _warn_of_opencv(reason: str) -> None:
    warnings.warn(f"TV-L1 falls back to OpenCV, about 35 times slower: {reason}", stacklevel=4)


def resolve_backend(backend: str = "auto", device: str = "cpu") -> str:
    """The backend that `backend` means for arrays on `device` ("cpu", "cuda", "cuda:1", "mps", ...).

    `auto` is Triton on CUDA, the C++ library on the CPU (OpenCV with one warning where it was not built) and the
    torch oracle elsewhere. Raises KernelInputError for an unknown name, a backend that cannot run there, and a C++
    library that was built from other sources.
    """
    kind = device.partition(":")[0]
    if backend == "auto":
        if kind == "cuda":
            return "triton" if importlib.util.find_spec("triton") is not None else "torch"
        if kind != "cpu":
            return "torch"
        from kernels.tvl1 import native

        if native.library_path() is not None:
            native.library()  # one that cannot work is refused before any
            return "cpp"
        _warn_of_opencv(native.MISSING)
        return "opencv"
    if backend not in BACKENDS:
        raise KernelInputError(f"no TV-L1 backend is called {backend!r}; there are auto, {', '.join(BACKENDS)}")
    if backend in ("cpp", "opencv") and kind != "cpu":
        raise KernelInputError(f"backend {backend!r} works on the CPU, the frames are on {device}: use auto")
    if backend == "cpp":
        from kernels.tvl1 import native

        if native.library_path() is None:
            raise KernelInputError(f"backend 'cpp' is not there: {native.MISSING}; auto falls back to OpenCV")
        native.library()
    if backend == "triton" and kind != "cuda" and os.environ.get("TRITON_INTERPRET") != "1":
        raise KernelInputError(
            f"backend 'triton' needs CUDA tensors, the frames are on {device}: move them or use auto"
        )
    return backend


@overload
def tvl1_flow(
    first_BHW: NDArray[np.generic],
    second_BHW: NDArray[np.generic],
    *,
    params: TVL1Params = ...,
    backend: str = ...,
    threads: int = ...,
) -> NDArray[np.float32]: ...
@overload
def tvl1_flow(
    first_BHW: torch.Tensor,
    second_BHW: torch.Tensor,
    *,
    params: TVL1Params = ...,
    backend: str = ...,
    threads: int = ...,
) -> torch.Tensor: ...
def tvl1_flow(
    first_BHW: NDArray[np.generic] | torch.Tensor,
    second_BHW: NDArray[np.generic] | torch.Tensor,
    *,
    params: TVL1Params = BALANCED,
    backend: str = "auto",
    threads: int = 1,
) -> NDArray[np.float32] | torch.Tensor:
    """TV-L1 optical flow from the first frames to the second, float32 (B, H, W, 2): u right, v down, in px.

    Frames are grey, uint8 or float in 0..255, (B, H, W), NumPy or torch; the result is of the same kind on the same
    device. `params` is one of PRESETS or your own; `backend` one of auto, cpp, triton, torch, opencv; `threads` is
    the number of pairs in flight (cpp only). Raises KernelInputError when the frames do not fit together.
    Model: Zach, Pock and Bischof, A duality based approach for realtime TV-L1 optical flow, 2007.
    """
    check_pair(first_BHW, second_BHW)
    if threads < 1:
        raise KernelInputError(f"threads is {threads}, it must be at least 1")
    in_torch = is_torch(first_BHW)
    name = resolve_backend(backend, str(cast("torch.Tensor", first_BHW).device) if in_torch else "cpu")
    if name in ("torch", "triton"):
        return _through_torch(first_BHW, second_BHW, params, name)
    first, second = (_as_numpy(frames) for frames in (first_BHW, second_BHW))
    if name == "cpp":
        from kernels.tvl1 import native

        flow_BHW2 = native.flow(first, second, params, threads=threads)
    else:
        from kernels.tvl1 import opencv

        check_pair(first, second, min_side_px=opencv.MIN_SIDE_PX)
        flow_BHW2 = opencv.flow(first, second, params)
    if not in_torch:
        return flow_BHW2
    import torch

    return torch.from_numpy(flow_BHW2)


def _as_numpy(frames_BHW: NDArray[np.generic] | torch.Tensor) -> NDArray[np.generic]:
    if isinstance(frames_BHW, np.ndarray):
        return frames_BHW if frames_BHW.dtype == np.uint8 else frames_BHW.astype(np.float32, copy=False)
    frames = frames_BHW.detach()
    return (frames if str(frames.dtype) == "torch.uint8" else frames.float()).numpy()


def _through_torch(
    first_BHW: NDArray[np.generic] | torch.Tensor,
    second_BHW: NDArray[np.generic] | torch.Tensor,
    params: TVL1Params,
    name: str,
) -> NDArray[np.float32] | torch.Tensor:
    import torch

    if name == "triton":
        from kernels.tvl1.gpu import flow
    else:
        from kernels.tvl1.oracle import flow
    if isinstance(first_BHW, torch.Tensor) and isinstance(second_BHW, torch.Tensor):
        return flow(first_BHW.detach().float(), second_BHW.detach().float(), params)
    first, second = (torch.from_numpy(np.array(x, dtype=np.float32, order="C")) for x in (first_BHW, second_BHW))
    return cast("NDArray[np.float32]", flow(first, second, params).numpy())
