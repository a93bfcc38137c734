"""The Triton backend of TV-L1 without a GPU: in the interpreter against the oracle, and compiled to machine code."""

import re
import subprocess
from pathlib import Path

import pytest
import torch

from benchmarks.tvl1_scenes import smooth_motion
from kernels.tvl1 import TVL1Params, oracle, tvl1_flow
from tests.interpreted import interpreted

triton = pytest.importorskip("triton", reason="triton is not installed (no wheel for this platform)")


@pytest.fixture(scope="module")
def differences(tmp_path_factory: pytest.TempPathFactory) -> dict[str, float]:
    return interpreted("tests.kernels.tvl1_interpreted", tmp_path_factory)


def test_tile_equals_the_oracle(differences: dict[str, float]) -> None:
    assert differences["tile_1"] < 1e-4
    assert differences["tile_4"] < 1e-4


def test_one_step_less_is_told_apart(differences: dict[str, float]) -> None:
    assert differences["tile_too_few"] > 0.1


def test_warp_and_median_equal_the_oracle(differences: dict[str, float]) -> None:
    assert differences["median_3"] == 0 and differences["median_5"] == 0
    assert differences["linearise_five_point"] < 2e-3 and differences["linearise_central"] < 2e-3  # of values up to 500
    assert differences["flow"] < 1e-3


FLOATS = {"state_in": "*fp32", "state_out": "*fp32", "data": "*fp32"}
KERNELS = {
    "iterate_tile": (
        FLOATS
        | {"edge": "*u8", "height": "i32", "width": "i32", "plane": "i32"}
        | {"limit": "fp32", "theta": "fp32", "t": "fp32"}
    ),
    "linearise_block": (
        dict.fromkeys(("first", "second", "state", "data"), "*fp32")
        | {"height": "i32", "width": "i32", "plane": "i32"}
        | {"a": "fp32", "k1": "fp32", "k2": "fp32"}
    ),
    "median3_block": {"source": "*fp32", "target": "*fp32", "height": "i32", "width": "i32", "total": "i32"},
    "median5_block": {"source": "*fp32", "target": "*fp32", "height": "i32", "width": "i32", "total": "i32"},
}


@pytest.mark.parametrize("arch", [80, 90])
@pytest.mark.parametrize("name", list(KERNELS))
def test_compiles_without_stack(tmp_path: Path, name: str, arch: int) -> None:
    """Machine code for A100 and H100; a kernel that spills its registers to the stack loses what tiling wins."""
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from kernels.tvl1 import gpu, tiles

    constants: dict[str, int | float] = {"BLOCK": gpu.BLOCK}
    options = {}
    if name == "iterate_tile":
        constants = {"TILE": gpu.TILE, "STEPS": gpu.STEPS, "EDGE_STEPS": oracle.EDGE_STEPS, "FLAT": oracle.FLAT}
        options = {"num_warps": gpu.WARPS}
    signature = KERNELS[name] | dict.fromkeys(constants, "constexpr")
    source = ASTSource(getattr(tiles, name), signature=signature, constexprs=constants)
    compiled = triton.compile(source, target=GPUTarget("cuda", arch, 32), options=options)
    cubin = tmp_path / f"{name}.cubin"
    cubin.write_bytes(compiled.asm["cubin"])
    tool = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
    if not tool.is_file():
        pytest.skip("triton came without cuobjdump")
    usage = subprocess.run([tool, "-res-usage", cubin], capture_output=True, text=True, check=True).stdout
    registers, stack = (int(re.search(rf"{word}:(\d+)", usage)[1]) for word in ("REG", "STACK"))  # type: ignore[index]
    assert stack == 0, usage
    assert registers <= 128, usage


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_on_the_device() -> None:
    scene = smooth_motion("smooth")
    first, second = (torch.from_numpy(frame)[None].cuda() for frame in scene[:2])
    flow = tvl1_flow(first, second)
    assert flow.device == first.device
    truth = oracle.flow(first.float(), second.float(), TVL1Params())
    assert float((flow - truth).abs().quantile(0.99)) < 1e-3
