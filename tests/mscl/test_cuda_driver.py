"""GPUs as the driver counts them, here a driver of ours: PyTorch is asked only where it would say something else."""

import ctypes
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mscl import cuda_driver


class Driver:
    """As much of libcuda as is asked."""

    def __init__(self, version: int = 13_000, started: int = 0, count: int = 2) -> None:
        self.version, self.started, self.count = version, started, count

    def cuDriverGetVersion(self, version: Any) -> int:
        ctypes.cast(version, ctypes.POINTER(ctypes.c_int)).contents.value = self.version
        return 0

    def cuInit(self, flags: int) -> int:
        return self.started

    def cuDeviceGetCount(self, count: Any) -> int:
        ctypes.cast(count, ctypes.POINTER(ctypes.c_int)).contents.value = self.count
        return 0


@pytest.mark.parametrize(
    ("driver", "cuda", "counted"),
    [
        (Driver(), 13, 2),
        (Driver(version=13_020), 12, 2),
        (Driver(started=100), 13, 0),
        (Driver(version=12_080), 13, None),
        (Driver(started=999), 13, None),
        (Driver(), None, None),
        (None, 13, None),
    ],
    ids=["there", "newer driver", "hidden", "older driver", "broken", "PyTorch without CUDA", "no driver"],
)
def test_what_the_driver_says(
    monkeypatch: pytest.MonkeyPatch, driver: Driver | None, cuda: int | None, counted: int | None
) -> None:
    monkeypatch.setattr(cuda_driver, "_driver", lambda: driver)
    monkeypatch.setattr(cuda_driver, "_cuda_of_pytorch", lambda: cuda)
    cuda_driver.gpus_of_driver.cache_clear()
    assert cuda_driver.gpus_of_driver() == counted
    cuda_driver.gpus_of_driver.cache_clear()


def test_a_library_without_its_functions_is_no_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda_driver, "_LIBRARY", None)  # this process itself
    assert cuda_driver._driver() is None


def test_pytorch_s_cuda_is_read_from_its_file() -> None:
    import torch

    said = torch.version.cuda
    assert cuda_driver._cuda_of_pytorch() == (int(said.partition(".")[0]) if said else None)


COUNTING = """
import sys
from pathlib import Path
from mscl import cuda_driver, devices
from tests.mscl.test_cuda_driver import Driver
cuda_driver._driver = Driver
cuda_driver._cuda_of_pytorch = lambda: 13
devices.has_gpu.__defaults__ = (Path(sys.argv[1]),)
print(devices.gpus_to_use("auto", ()), "torch" in sys.modules)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere PyTorch is asked")
def test_the_command_counts_gpus_without_pytorch(tmp_path: Path) -> None:
    (tmp_path / "nvidiactl").touch()
    said = subprocess.run([sys.executable, "-c", COUNTING, str(tmp_path)], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "(0, 1) False"
