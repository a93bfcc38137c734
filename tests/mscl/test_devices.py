"""Whether there is a GPU: PyTorch is asked where a driver's device file is there, and not imported elsewhere."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from mscl.devices import has_gpu


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
