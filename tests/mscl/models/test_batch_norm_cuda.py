"""Batch norm's Triton kernels without a GPU: in the interpreter against PyTorch's layers, and compiled for GPUs."""

import pytest

from tests.interpreted import interpreted

pytest.importorskip("triton", reason="triton is not installed (no wheel for this platform)")


def test_output_gradients_and_statistics_are_those_of_the_plain_layers(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    report = interpreted("tests.mscl.models.batch_norm_interpreted", tmp_path_factory)
    assert report.pop("bfloat16") < 2**-7, "bfloat16 has eight bits"
    assert len(report) == 2 * (2 * 7 + 2 * 8), "every part of every case"
    assert {case: off for case, off in report.items() if off > 1e-5} == {}


@pytest.mark.parametrize("name", ["column_sums", "normalised", "gradient_sums", "input_gradient"])
def test_reads_sixteen_bytes_at_a_time(name: str) -> None:
    """Compiled for an H100: a narrower read would leave its memory idle."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from mscl.models import batch_norm_tiles

    kernel = getattr(batch_norm_tiles, name)
    pictures, numbers = {"x", "added", "y", "dy", "dx", "dadded"}, {"rows", "total", "width", "channels", "tiles"}
    constants = {flag: True for flag in ("ADDED", "RECTIFIED") if flag in kernel.arg_names}
    signature = {
        arg: "*bf16" if arg in pictures else "i32" if arg in numbers else "constexpr" if arg in constants else "*fp32"
        for arg in kernel.arg_names
    }
    # As the launcher knows of tensors and of widths such as 128: they divide by sixteen.
    even = {
        (place,): [["tt.divisibility", 16]]
        for place, arg in enumerate(kernel.arg_names)
        if arg not in constants and arg not in ("tiles", "rows")
    }
    source = ASTSource(kernel, signature=signature, constexprs=constants, attrs=even)
    assembly = triton.compile(source, target=GPUTarget("cuda", 90, 32), options={"num_warps": 8}).asm["ptx"]
    assert ".v4.b32" in assembly
