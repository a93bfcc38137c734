"""Cores, GPUs, and what `auto` means: PyTorch is asked where a driver shows itself, and not imported elsewhere."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from mscl import devices
from mscl.devices import cores, has_gpu, num_gpus, resolve_device
from mscl.errors import ConfigError


@pytest.mark.parametrize("name", ["nvidiactl", "nvhost-ctrl", "dxg", "kfd"])
@pytest.mark.parametrize("answer", [True, False])
def test_pytorch_is_asked_where_a_driver_shows_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, answer: bool
) -> None:
    (tmp_path / name).touch()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: answer)
    assert has_gpu(tmp_path) is answer


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere drivers show no device files, and PyTorch is asked")
def test_pytorch_is_not_imported_where_none_does(tmp_path: Path) -> None:
    (tmp_path / "nvme0").touch()
    code = """
import sys
from pathlib import Path
from mscl.devices import has_gpu
print(has_gpu(Path(sys.argv[1])), "torch" in sys.modules)
"""
    said = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)
    assert said.stdout.split() == ["False", "False"]


def test_the_answer_is_pytorch_s() -> None:
    assert has_gpu() == torch.cuda.is_available()
    assert num_gpus() == torch.cuda.device_count()


@pytest.mark.parametrize(("there", "auto"), [(True, "cuda"), (False, "cpu")])
def test_auto_takes_a_gpu_where_there_is_one(monkeypatch: pytest.MonkeyPatch, there: bool, auto: str) -> None:
    monkeypatch.setattr(devices, "has_gpu", lambda: there)
    assert resolve_device("auto") == auto
    assert resolve_device("cpu") == "cpu"
    if there:
        assert resolve_device("cuda") == "cuda"
    else:
        with pytest.raises(ConfigError, match=r"runtime\.device is cuda, and PyTorch sees no CUDA device here"):
            resolve_device("cuda")


def test_another_device_is_refused_under_the_name_of_its_setting() -> None:
    with pytest.raises(ConfigError, match="--device is 'tpu'; give one of auto, cpu, cuda"):
        resolve_device("tpu", setting="--device")


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system cannot bind a process to a core")
def test_cores_are_those_that_this_process_may_use() -> None:
    may_use = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(may_use)})
    try:
        assert cores() == 1
    finally:
        os.sched_setaffinity(0, may_use)
    assert cores() == len(may_use)
