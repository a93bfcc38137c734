"""Whether PyTorch can use a GPU here, said without PyTorch where the machine has none."""

import sys
from pathlib import Path

DEVICE_FILES = ("nvidia*", "nvhost*", "nvgpu*", "nvmap", "dxg", "kfd")
"""In /dev: a driver shows itself by one of them. NVIDIA's cards, its boards (three), Windows' under WSL, AMD's."""


def has_gpu(devices: Path = Path("/dev")) -> bool:
    """As `torch.cuda.is_available()`, but PyTorch is imported only where it may say yes: that takes 1.5 s.

    A run with nothing to do asks this and needs nothing else of PyTorch.
    """
    if sys.platform == "linux" and not any(any(devices.glob(name)) for name in DEVICE_FILES):
        return False
    import torch

    return torch.cuda.is_available()
