"""The Triton kernels in Triton's interpreter, all in one process: PyTorch and Triton take seconds to import.

`python -m tests.interpreted FOLDER` leaves what each script has found in FOLDER/<script>.json.
"""

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.made_once import made_once

SCRIPTS = (
    "tests.kernels.tvl1_interpreted",
    "tests.mscl.models.batch_norm_interpreted",
    "tests.mscl.pretrain.augment_interpreted",
)


def interpreted(script: str, factory: pytest.TempPathFactory) -> dict[str, float]:
    """What one of the scripts has found."""
    assert script in SCRIPTS
    found: dict[str, float] = json.loads((made_once(factory, "interpreted", _run) / f"{script}.json").read_text())
    return found


def _run(folder: Path) -> None:
    # A process of its own: the variable must be set before triton is imported.
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1]), "TRITON_INTERPRET": "1"}
    command = [sys.executable, "-m", "tests.interpreted", str(folder)]
    run = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert run.returncode == 0, run.stderr


def main(folder: Path) -> None:
    import torch

    torch.set_num_threads(1)
    for script in SCRIPTS:
        (folder / f"{script}.json").write_text(json.dumps(importlib.import_module(script).main()))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
