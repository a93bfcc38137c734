"""What this machine has: cores that may be used, GPUs, and the device that `auto` means."""

import os
import sys
from pathlib import Path
from typing import Literal, get_args

from mscl.errors import ConfigError

DeviceChoice = Literal["auto", "cpu", "cuda"]

DEVICE_FILES = ("nvidia*", "nvhost*", "nvgpu*", "nvmap", "dxg", "kfd")
"""In /dev: a driver shows itself by one of them. NVIDIA's cards, its boards (three), Windows' under WSL, AMD's."""


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def has_gpu(devices: Path = Path("/dev")) -> bool:
    """As `torch.cuda.is_available()`, but PyTorch is imported only where it may say yes: that takes 1.5 s.

    A run with nothing to do asks this and needs nothing else of PyTorch.
    """
    if sys.platform == "linux" and not any(any(devices.glob(name)) for name in DEVICE_FILES):
        return False
    import torch

    return torch.cuda.is_available()


def num_gpus() -> int:
    """GPUs that PyTorch sees; PyTorch is imported only where there may be one."""
    if not has_gpu():
        return 0
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
    if choice == "cuda":
        raise ConfigError(f"{setting} is cuda, and PyTorch sees no CUDA device here; take auto or cpu")
    return "cpu"
