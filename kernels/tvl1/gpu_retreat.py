# mypy: disable-error-code="untyped-decorator,no-untyped-def,no-untyped-call"
"""oracle.retreat in Triton, which has no types; kernels/tvl1/gpu.py launches these kernels in grids (blocks, pairs)."""

import triton
import triton.language as tl

from kernels.tvl1.gpu_pixels import change_of_light, landing, pixels_of_block


@triton.jit(do_not_specialize=["height", "width", "plane", "stride"])
def nearest_block(flow, nearest, middle, height, width, plane, stride, ALONG_X: tl.constexpr, BLOCK: tl.constexpr):
    """Of the flow of every pixel and of those `stride` px before and behind it, that which is nearest to the middle."""
    plane = plane.to(tl.int64)
    inside_frame, there, origin = pixels_of_block(height * width, BLOCK)
    pair = tl.program_id(1)
    middle_u, middle_v = tl.load(middle + pair), tl.load(middle + tl.num_programs(1) + pair)
    y, x = inside_frame // width, inside_frame % width
    u = tl.load(flow + origin + inside_frame, there, 0.0)
    v = tl.load(flow + plane + origin + inside_frame, there, 0.0)
    least = (u - middle_u) * (u - middle_u) + (v - middle_v) * (v - middle_v)
    for side in tl.static_range(2):
        offset = stride * (2 * side - 1)
        if ALONG_X:
            other = y * width + tl.minimum(tl.maximum(x + offset, 0), width - 1)
        else:
            other = tl.minimum(tl.maximum(y + offset, 0), height - 1) * width + x
        other_u = tl.load(flow + origin + other, there, 0.0)
        other_v = tl.load(flow + plane + origin + other, there, 0.0)
        distance = (other_u - middle_u) * (other_u - middle_u) + (other_v - middle_v) * (other_v - middle_v)
        is_nearer = distance < least
        u, v, least = tl.where(is_nearer, other_u, u), tl.where(is_nearer, other_v, v), tl.minimum(distance, least)
    tl.store(nearest + origin + inside_frame, u, there)
    tl.store(nearest + plane + origin + inside_frame, v, there)


@triton.jit
def _misfit(
    first, second, light, flow, plane, origin, inside_frame, there, height, width,
    CAP: tl.constexpr, OUTSIDE: tl.constexpr,
):  # fmt: skip
    """oracle._misfit."""
    at = origin + inside_frame
    u, v = tl.load(flow + at, there, 0.0), tl.load(flow + plane + at, there, 0.0)
    qx, qy, is_inside = landing(u, v, inside_frame, height, width)
    cx, cy = qx.to(tl.int32), qy.to(tl.int32)
    fx, fy = qx - cx.to(tl.float32), qy - cy.to(tl.float32)
    behind = tl.minimum(cx + 1, width - 1)
    line, line_below = second + origin + cy * width, second + origin + tl.minimum(cy + 1, height - 1) * width
    top, top_right = tl.load(line + cx, there, 0.0), tl.load(line + behind, there, 0.0)
    low, low_right = tl.load(line_below + cx, there, 0.0), tl.load(line_below + behind, there, 0.0)
    top, low = top + fx * (top_right - top), low + fx * (low_right - low)
    grey = tl.load(first + at, there, 0.0)
    misfit = tl.abs(top + fy * (low - top) - grey - change_of_light(light, grey))
    return tl.where(is_inside, tl.minimum(misfit, CAP), OUTSIDE)


@triton.jit(do_not_specialize=["height", "width", "plane"])
def worse_block(
    first,
    second,
    light,
    flow,
    nearest,
    worse,
    height,
    width,
    plane,
    CAP: tl.constexpr,
    OUTSIDE: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """By how many grey values more the nearest flow misses than the pixel's own."""
    plane = plane.to(tl.int64)
    inside_frame, there, origin = pixels_of_block(height * width, BLOCK)
    more = _misfit(first, second, light, nearest, plane, origin, inside_frame, there, height, width, CAP, OUTSIDE)
    more -= _misfit(first, second, light, flow, plane, origin, inside_frame, there, height, width, CAP, OUTSIDE)
    tl.store(worse + origin + inside_frame, more, there)


@triton.jit(do_not_specialize=["height", "width", "plane"])
def retreat_block(nearest, worse, flow, height, width, plane, AS_GOOD: tl.constexpr, BLOCK: tl.constexpr):
    """Take the nearest flow where it fits as well over 5 x 5 px, in place."""
    plane = plane.to(tl.int64)
    inside_frame, there, origin = pixels_of_block(height * width, BLOCK)
    y, x = inside_frame // width, inside_frame % width
    total = tl.zeros((BLOCK,), tl.float32)
    for dy in tl.static_range(-2, 3):
        line = origin + tl.minimum(tl.maximum(y + dy, 0), height - 1) * width
        for dx in tl.static_range(-2, 3):
            total += tl.load(worse + line + tl.minimum(tl.maximum(x + dx, 0), width - 1), there, 0.0)
    at, taken = origin + inside_frame, there & (total / 25.0 < AS_GOOD)
    tl.store(flow + at, tl.load(nearest + at, taken, 0.0), taken)
    tl.store(flow + plane + at, tl.load(nearest + plane + at, taken, 0.0), taken)
