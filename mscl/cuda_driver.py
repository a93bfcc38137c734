"""NVIDIA's driver asked without PyTorch, whose import takes seconds."""

import ctypes
import importlib.util
import runpy
from functools import cache
from pathlib import Path

_LIBRARY = "libcuda.so.1"
_NO_DEVICE = 100
"""CUDA_ERROR_NO_DEVICE: there is none, or CUDA_VISIBLE_DEVICES hides all."""
_FUNCTIONS = ("cuDriverGetVersion", "cuInit", "cuDeviceGetCount", "cuDeviceGet", "cuDevicePrimaryCtxRetain")


@cache
def gpus_of_driver() -> int | None:
    """How many GPUs PyTorch would see, as CUDA_VISIBLE_DEVICES leaves them; None: PyTorch has to be asked itself.

    It has to where the driver is another than NVIDIA's, cannot start, or is too old for the CUDA that PyTorch was
    built with, which PyTorch says in words of its own.
    """
    driver, wanted = _driver(), _cuda_of_pytorch()
    version, count = ctypes.c_int(), ctypes.c_int()
    if driver is None or wanted is None or driver.cuDriverGetVersion(ctypes.byref(version)):
        return None
    if version.value // 1000 < wanted:
        return None
    started = driver.cuInit(0)
    if started == _NO_DEVICE:
        return 0
    return None if started or driver.cuDeviceGetCount(ctypes.byref(count)) else count.value


def make_context(gpu: int) -> None:
    """Make the context of a GPU that PyTorch will use in this process, if that can be done now.

    What goes wrong here goes wrong in PyTorch again, which says what.
    """
    driver, device, context = _driver(), ctypes.c_int(), ctypes.c_void_p()
    if driver is not None and not driver.cuInit(0) and not driver.cuDeviceGet(ctypes.byref(device), gpu):
        driver.cuDevicePrimaryCtxRetain(ctypes.byref(context), device)


def _driver() -> ctypes.CDLL | None:
    try:
        driver = ctypes.CDLL(_LIBRARY)
    except OSError:
        return None
    return driver if all(hasattr(driver, name) for name in _FUNCTIONS) else None  # some stand in for it with half of it


def _cuda_of_pytorch() -> int | None:
    """First number of `torch.version.cuda`, of the file alone; a driver of the same first number works."""
    found = importlib.util.find_spec("torch")
    if found is None or found.origin is None:
        return None
    try:
        cuda = runpy.run_path(str(Path(found.origin).with_name("version.py"))).get("cuda")
    except OSError:
        return None
    return int(str(cuda).partition(".")[0]) if cuda else None
