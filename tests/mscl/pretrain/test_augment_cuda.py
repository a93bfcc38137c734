"""The augmentation's Triton kernels without a GPU: in the interpreter against the plain functions."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("triton", reason="triton is not installed (no wheel for this platform)")


@pytest.fixture(scope="module")
def differences() -> dict[str, float]:
    script = Path(__file__).with_name("augment_interpreted.py")
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[3])}
    run = subprocess.run([sys.executable, script], capture_output=True, text=True, env=environment)
    assert run.returncode == 0, run.stderr
    report: dict[str, float] = json.loads(run.stdout)
    return report


@pytest.mark.parametrize("draw", ["per_clip", "per_frame"])
def test_colours_of_clips(differences: dict[str, float], draw: str) -> None:
    assert differences[f"rgb_{draw}"] < 5e-5, "of values up to 2.6"
    assert differences[f"rgb_{draw}_flipped"] > 0.5


@pytest.mark.parametrize("picture", ["flow", "rotated"])
def test_pictures_of_flow(differences: dict[str, float], picture: str) -> None:
    assert differences[f"{picture}_levels"] < 1.001, "a floor to the other side"
    assert differences[f"{picture}_share"] < 1e-3
