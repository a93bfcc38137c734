"""The Triton backend of TV-L1 without a GPU: in the interpreter against the oracle, and compiled to machine code."""

import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.overrides import TorchFunctionMode

from benchmarks.tvl1_scenes import smooth_motion
from kernels.tvl1 import TVL1Params, oracle, tvl1_flow
from tests.interpreted import interpreted

triton = pytest.importorskip("triton", reason="triton is not installed (no wheel for this platform)")


@pytest.fixture(scope="module")
def differences(tmp_path_factory: pytest.TempPathFactory) -> dict[str, float]:
    return interpreted("tests.kernels.tvl1_interpreted", tmp_path_factory)


def test_strips_equal_the_oracle(differences: dict[str, float]) -> None:
    assert differences["strips_1"] < 1e-4
    assert differences["strips_2"] < 1e-4


def test_one_step_less_is_told_apart(differences: dict[str, float]) -> None:
    assert differences["strips_too_few"] > 0.1


def test_warp_light_and_median_equal_the_oracle(differences: dict[str, float]) -> None:
    assert differences["median_3"] == 0 and differences["median_5"] == 0
    assert differences["linearise_five_point"] < 2e-3 and differences["linearise_central"] < 2e-3  # of values up to 500
    assert differences["light_five_point"] < 1e-4 and differences["light_central"] < 1e-4
    assert differences["edges"] == 0
    assert differences["flow"] < 1e-3


def test_a_pair_stays_once_it_is_still(differences: dict[str, float]) -> None:
    assert differences["until_still"] < 1e-4
    assert differences["never_still"] > 1e-3
    assert differences["in_parts"] == 0


def test_retreat_equals_the_oracle(differences: dict[str, float]) -> None:
    assert differences["retreat"] < 1e-3
    assert differences["retreat_moves"] > 0.1


class _Counted:
    """Stands for a kernel."""

    def __init__(self, launches: list[Any]) -> None:
        self._launches = launches

    def __getitem__(self, grid: Any) -> Any:
        return lambda *args, **kwargs: self._launches.append(grid)


class _Operators(TorchFunctionMode):
    """Counts torch's operators that write a new tensor: not views, not what asks for a shape."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        if isinstance(result, torch.Tensor):
            given = {arg.untyped_storage().data_ptr() for arg in args if isinstance(arg, torch.Tensor)}
            self.count += result.untyped_storage().data_ptr() not in given
        return result


def test_a_batch_is_few_launches(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are most of the time of small batches: there were 2,179 when torch did what stands around the iterations."""
    from kernels.tvl1 import gpu

    launches: list[Any] = []
    for name in KERNELS:
        monkeypatch.setattr(gpu, name, _Counted(launches))
    frames = torch.rand(1, 256, 340) * 255
    gpu.flow(frames, frames, TVL1Params())  # makes the matrices that later batches find
    launches.clear()
    with _Operators() as operators:
        gpu.flow(frames, frames, TVL1Params())
    assert len(launches) == 203
    assert operators.count < 120  # 60 launch something, the others make room


FRAMES = {"first": "*fp32", "second": "*fp32"}
SIZES = {"height": "i32", "width": "i32", "plane": "i32"}
KERNELS = {
    "iterate_strip": (
        dict.fromkeys(("flow", "state", "state_out", "data"), "*fp32")
        | {"edge": "*u8", "rows": "i32"}
        | SIZES
        | dict.fromkeys(("limit", "theta", "t"), "fp32")
    ),
    "edges_block": {"first": "*fp32", "edge": "*u8"} | SIZES | dict.fromkeys(("sensitivity", "k1", "k2"), "fp32"),
    "linearise_block": (
        FRAMES
        | dict.fromkeys(("flow", "data", "light", "sums"), "*fp32")
        | SIZES
        | dict.fromkeys(("a", "k1", "k2", "light_residual"), "fp32")
    ),
    "light_block": {"sums": "*fp32", "light": "*fp32", "pixels": "i32", "blocks": "i32"},
    "relight_block": {"first": "*fp32", "light": "*fp32", "rc": "*fp32", "pixels": "i32"},
    "nearest_block": dict.fromkeys(("flow", "nearest", "middle"), "*fp32") | SIZES | {"stride": "i32"},
    "worse_block": FRAMES | dict.fromkeys(("light", "flow", "nearest", "worse"), "*fp32") | SIZES,
    "retreat_block": dict.fromkeys(("nearest", "worse", "flow"), "*fp32") | SIZES,
    "median3_block": {"source": "*fp32", "target": "*fp32", "height": "i32", "width": "i32", "total": "i32"},
    "median5_block": {"source": "*fp32", "target": "*fp32", "height": "i32", "width": "i32", "total": "i32"},
}


@pytest.mark.parametrize("arch", [80, 90])
@pytest.mark.parametrize("name", list(KERNELS))
def test_compiles_without_stack(tmp_path: Path, name: str, arch: int) -> None:
    """Machine code for A100 and H100; a kernel that spills its registers to the stack loses what it wins by them."""
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from kernels.tvl1 import gpu

    known = {
        "STEPS": gpu.STEPS, "COLUMNS": gpu.COLUMNS, "BEFORE": gpu.BEFORE, "BLOCK": gpu.BLOCK, "ALONG_X": True,
        "EDGE_STEPS": oracle.EDGE_STEPS, "FLAT": oracle.FLAT, "CAP": oracle.MISFIT_CAP,
        "OUTSIDE": oracle.MISFIT_OUTSIDE, "AS_GOOD": oracle.AS_GOOD,
    }  # fmt: skip
    kernel = getattr(gpu, name)
    constants = {arg: value for arg, value in known.items() if arg in kernel.arg_names}
    signature = {arg: KERNELS[name].get(arg, "constexpr") for arg in kernel.arg_names}
    source = ASTSource(kernel, signature=signature, constexprs=constants)
    options = {"num_warps": 1 if name == "iterate_strip" else 4}
    compiled = triton.compile(source, target=GPUTarget("cuda", arch, 32), options=options)
    if name == "iterate_strip":  # neighbours come from other lanes, nothing goes through shared memory
        ptx = compiled.asm["ptx"]
        assert ptx.count("shfl.sync") == 4 * gpu.STEPS
        assert "bar.sync" not in ptx and ".shared" not in ptx
    cubin = tmp_path / f"{name}.cubin"
    cubin.write_bytes(compiled.asm["cubin"])
    tool = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
    if not tool.is_file():
        pytest.skip("triton came without cuobjdump")
    usage = subprocess.run([tool, "-res-usage", cubin], capture_output=True, text=True, check=True).stdout
    assert "STACK:0" in usage, usage


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="PyTorch sees no CUDA device here")
@pytest.mark.parametrize("epsilon", [0.0, 0.01])
def test_on_the_device(epsilon: float) -> None:
    scene = smooth_motion("smooth")
    first, second = (torch.from_numpy(frame)[None].cuda() for frame in scene[:2])
    params = TVL1Params(epsilon=epsilon)
    flow = tvl1_flow(first, second, params=params)
    assert flow.device == first.device
    truth = oracle.flow(first.float(), second.float(), params)
    assert float((flow - truth).abs().quantile(0.99)) < 1e-3
