"""Cores, GPUs, and what `auto` means: PyTorch is asked where a driver shows itself, and not imported elsewhere."""

import os
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch

from mscl import devices
from mscl.devices import chosen_gpus, cores, device_of, gpus_to_use, has_gpu, loaders_of, num_gpus, resolve_device
from mscl.errors import AssumptionWarning, ConfigError


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


def test_a_driver_that_pytorch_cannot_use_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = "CUDA initialization: The NVIDIA driver on your system is too old (found version 11040). Please update"
    (tmp_path / "nvidiactl").touch()

    def is_available() -> bool:
        warnings.warn(told, stacklevel=1)
        return False

    monkeypatch.setattr(torch.cuda, "is_available", is_available)
    monkeypatch.setattr(devices, "_pytorch_said", [])
    monkeypatch.setattr(devices, "has_gpu", lambda: has_gpu(tmp_path))
    with pytest.warns(AssumptionWarning) as caught:
        assert resolve_device("auto") == "cpu"
    reason = "(CUDA initialization: The NVIDIA driver on your system is too old (found version 11040) Please update)"
    assert [str(one.message) for one in caught] == [f"no GPU is used {reason}; everything runs on the CPU"]
    with pytest.raises(ConfigError, match=r"sees no CUDA device here \(CUDA initialization: .* too old"):
        resolve_device("cuda")


@pytest.mark.parametrize(
    ("named", "there", "chosen"),
    [((), 0, ()), ((), 4, (0, 1, 2, 3)), ((2,), 4, (2,)), ((3, 1), 4, (3, 1))],
)
def test_the_gpus_of_a_machine(named: tuple[int, ...], there: int, chosen: tuple[int, ...]) -> None:
    assert chosen_gpus(named, there) == chosen


@pytest.mark.parametrize(
    ("named", "there", "said"),
    [((0, 4), 4, r"names 4, and PyTorch sees 0, 1, 2, 3 here"), ((0, 1), 0, r"names 0, 1, and PyTorch sees none here")],
)
def test_a_gpu_that_is_not_there(named: tuple[int, ...], there: int, said: str) -> None:
    with pytest.raises(ConfigError, match=rf"^runtime\.gpus {said}"):
        chosen_gpus(named, there)


def test_gpus_are_dealt_out_to_workers_in_turn() -> None:
    assert [device_of(worker, (0, 1, 3)) for worker in range(5)] == ["cuda:0", "cuda:1", "cuda:3", "cuda:0", "cuda:1"]
    assert {device_of(worker, ()) for worker in range(5)} == {"cpu"}


def test_the_gpus_that_settings_mean(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "has_gpu", lambda: True)
    monkeypatch.setattr(devices, "num_gpus", lambda: 2)
    assert gpus_to_use("auto", ()) == gpus_to_use("cuda", ()) == (0, 1)
    assert gpus_to_use("auto", (1,)) == (1,)
    assert gpus_to_use("cpu", ()) == ()
    monkeypatch.setattr(devices, "has_gpu", lambda: False)
    monkeypatch.setattr(devices, "num_gpus", lambda: 0)
    assert gpus_to_use("auto", ()) == ()
    with pytest.raises(ConfigError, match="names 1, and PyTorch sees none"):
        gpus_to_use("auto", (1,))


@pytest.mark.parametrize(
    ("cores", "processes", "gpus", "loaders"),
    [(16, 1, 1, 15), (16, 8, 8, 1), (64, 8, 8, 7), (2, 1, 1, 1), (1, 2, 2, 1), (16, 1, 0, 1), (16, 4, 0, 1)],
)
def test_processes_that_load(cores: int, processes: int, gpus: int, loaders: int) -> None:
    assert loaders_of(cores, processes, gpus) == loaders


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
