"""Installing where no compiler is: it succeeds, says so, and TV-L1, motion and packed flow still work."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

RUN = """
import warnings
import numpy as np
from kernels.tvl1 import backends, tvl1_flow
frames = np.random.default_rng(0).integers(0, 256, (1, 20, 24), dtype=np.uint8)
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    for _ in range(3):
        assert tvl1_flow(frames, frames).shape == (1, 20, 24, 2)
said = [str(warning.message) for warning in caught if "falls back to OpenCV" in str(warning.message)]
assert len(said) == 1, said
from storage.flow_store.codec import FieldDecoder, FieldEncoder
from storage.flow_store.packing import library
assert library() is None
codes = np.random.default_rng(0).integers(-40, 40, (2, 6, 7), dtype=np.int16)
shape_of = codes.shape, codes.dtype, "packed"
pixels = np.empty((3, 4, 2), np.float32)
FieldDecoder(*shape_of).pixels(memoryview(FieldEncoder(*shape_of)(codes)), (1, 2, 3, 4), np.float32(0.5), pixels)
assert np.array_equal(pixels, codes[:, 1:4, 2:6].transpose(1, 2, 0) / 2)
assert not backends()[0].available
from kernels import differences
from kernels.motion import field_differences
assert differences.library() is None and field_differences(np.ones((2, 4, 4, 2), np.float32)).shape == (2,)
"""


def test_without_a_compiler(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "kernels", tmp_path / "kernels", ignore=shutil.ignore_patterns("*.so", "__pycache__"))
    shutil.copytree(ROOT / "storage", tmp_path / "storage", ignore=shutil.ignore_patterns("*.so", "__pycache__"))
    shutil.copy(ROOT / "setup.py", tmp_path)
    missing = str(tmp_path / "no-compiler")
    build = subprocess.run(
        [sys.executable, "setup.py", "build_ext", "--inplace", "bdist_wheel"],
        cwd=tmp_path,
        env=os.environ | {"CC": missing, "CXX": missing},
        capture_output=True,
        text=True,
    )
    assert build.returncode == 0, build.stderr
    assert "kernels.tvl1._tvl1: not built" in build.stderr and "install a C++ compiler" in build.stderr
    assert "storage.flow_store._packing: not built" in build.stderr
    assert "kernels._differences: not built" in build.stderr
    assert not list(tmp_path.rglob("*.so"))
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    assert "-py3-none-" in wheel.name, "one for every version of Python"
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    run = subprocess.run([sys.executable, "-c", RUN], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
