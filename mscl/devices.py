"""What this machine has: cores that may be used, GPUs, and the device that `auto` means."""

import os
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, get_args

from mscl.cuda_driver import gpus_of_driver
from mscl.errors import AssumptionWarning, ConfigError

DeviceChoice = Literal["auto", "cpu", "cuda"]

DEVICE_FILES = ("nvidia*", "nvhost*", "nvgpu*", "nvmap", "dxg", "kfd")
"""In /dev: a driver shows itself by one of them. NVIDIA's cards, its boards (three), Windows' under WSL, AMD's."""


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


_pytorch_said: list[str] = []
"""Why PyTorch sees no GPU where a driver shows itself; it says that once in a process."""


def has_gpu(devices: Path = Path("/dev")) -> bool:
    """As `torch.cuda.is_available()`, but PyTorch is imported only where nothing else can tell: that takes seconds.

    A run with nothing to do, and one whose other processes compute, ask this and need nothing else of PyTorch.
    """
    if sys.platform == "linux" and not any(any(devices.glob(name)) for name in DEVICE_FILES):
        return False
    if (counted := _counted()) is not None:
        return counted > 0
    import torch

    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        there = torch.cuda.is_available()
    _pytorch_said.extend(" ".join(str(one.message).split(". ")[:2]).strip() for one in said)
    return there


def _counted() -> int | None:
    """GPUs that the driver counts; None: PyTorch is to be asked, it is imported or knows more."""
    return None if "torch" in sys.modules else gpus_of_driver()


def num_gpus() -> int:
    """GPUs that PyTorch sees; PyTorch is imported only where nothing else can tell."""
    if not has_gpu():
        return 0
    if (counted := _counted()) is not None:
        return counted
    import torch

    return torch.cuda.device_count()


def resolve_device(choice: str, *, setting: str = "runtime.device") -> Literal["cpu", "cuda"]:
    """The kind of device that a setting means: `auto` takes a GPU where there is one.

    Raises:
        ConfigError: `cuda` without a GPU, or no such choice; names the setting.
    """
    if choice not in get_args(DeviceChoice):
        raise ConfigError(f"{setting} is {choice!r}; give one of {', '.join(get_args(DeviceChoice))}")
    if choice == "cpu":
        return "cpu"
    if has_gpu():
        return "cuda"
    reason = f" ({_pytorch_said[-1]})" if _pytorch_said else ""
    if choice == "cuda":
        raise ConfigError(f"{setting} is cuda, and PyTorch sees no CUDA device here{reason}; take auto or cpu")
    if reason:
        warnings.warn(f"no GPU is used{reason}; everything runs on the CPU", AssumptionWarning, stacklevel=2)
    return "cpu"


def gpus_to_use(choice: str, named: Sequence[int]) -> tuple[int, ...]:
    """The GPUs that `runtime.device` and `runtime.gpus` mean on this machine; none: the CPU.

    Raises:
        ConfigError: as `resolve_device` and `chosen_gpus`.
    """
    if choice == "cpu" or (resolve_device(choice) == "cpu" and not named):
        return ()
    return chosen_gpus(named, num_gpus())


def chosen_gpus(named: Sequence[int], there: int) -> tuple[int, ...]:
    """Those of a machine's GPUs that are named, in that order; all of them where none is named.

    Args:
        there: how many PyTorch sees; they are counted from 0.

    Raises:
        ConfigError: one that is not there.
    """
    if wrong := [gpu for gpu in named if not 0 <= gpu < there]:
        seen = f"PyTorch sees {', '.join(map(str, range(there)))}" if there else "PyTorch sees none"
        raise ConfigError(
            f"runtime.gpus names {', '.join(map(str, wrong))}, and {seen} here (they count from 0, "
            "CUDA_VISIBLE_DEVICES hides others); name what is there, or leave runtime.gpus empty for all"
        )
    return tuple(named) or tuple(range(there))


def device_of(worker: int, gpus: Sequence[int]) -> str:
    """The device of the worker with this number: GPUs are dealt out in turn, without any it is the CPU."""
    return f"cuda:{gpus[worker % len(gpus)]}" if gpus else "cpu"


def loaders_of(cores: int, processes: int, gpus: int) -> int:
    """What `runtime.loader_workers: auto` means for each of a node's training processes.

    A process beside a GPU starts its kernels, which takes a core; all others load. On a CPU the step takes the cores.
    """
    return max(1, cores // processes - 1) if gpus else 1
