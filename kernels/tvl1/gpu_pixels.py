# mypy: disable-error-code="untyped-decorator,no-untyped-def,no-untyped-call"
"""What the pointwise kernels of TV-L1 in Triton share. Their grids are (blocks of a frame, pairs)."""

import triton
import triton.language as tl


@triton.jit
def pixels_of_block(pixels, BLOCK: tl.constexpr):
    """Of a block: its pixels in the frame, which of them there are, and where the pair's frame begins in a plane."""
    inside_frame = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    return inside_frame, inside_frame < pixels, tl.program_id(1).to(tl.int64) * pixels


@triton.jit
def landing(u, v, inside_frame, height, width):
    """oracle.landing: where pixels land, x and y, moved into the frame, and whether they were inside."""
    x = (inside_frame % width).to(tl.float32) + u
    y = (inside_frame // width).to(tl.float32) + v
    qx, qy = tl.minimum(tl.maximum(x, 0.0), width - 1.0), tl.minimum(tl.maximum(y, 0.0), height - 1.0)
    return qx, qy, (qx == x) & (qy == y)


@triton.jit
def change_of_light(light, grey):
    """oracle.Light of the pair at pixels of these grey values; `light` is (B, 2)."""
    at = light + 2 * tl.program_id(1)
    return tl.load(at) + tl.load(at + 1) * scaled(grey)


@triton.jit
def scaled(grey):
    """Grey values as the fit of light takes them."""
    return (grey - 128.0) / 64.0
