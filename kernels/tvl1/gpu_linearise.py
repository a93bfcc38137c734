# mypy: disable-error-code="untyped-decorator,no-untyped-def,no-untyped-call"
"""The data term of TV-L1 in Triton, which has no types; kernels/tvl1/gpu.py launches these kernels."""

import triton
import triton.language as tl

from kernels.tvl1.gpu_pixels import change_of_light, landing, pixels_of_block, scaled


@triton.jit
def _cubic(f, a):
    """Weights of the four taps at distances 1+f, f, 1-f, 2-f (Keys 1981)."""
    r, o, s = 1.0 - f, 1.0 + f, 2.0 - f
    w0 = a * (((o - 5.0) * o + 8.0) * o - 4.0)
    w1 = ((a + 2.0) * f - (a + 3.0)) * f * f + 1.0
    w2 = ((a + 2.0) * r - (a + 3.0)) * r * r + 1.0
    w3 = a * (((s - 5.0) * s + 8.0) * s - 4.0)
    return w0, w1, w2, w3


@triton.jit
def _slopes(w0, w1, w2, w3, k1, k2):
    """Weights of the eight taps -3..4 of the derivative with taps k1, k2 at distances 1, 2 of the interpolant."""
    s0 = -k2 * w0
    s1 = -k1 * w0 - k2 * w1
    s2 = -k1 * w1 - k2 * w2
    s3 = k1 * (w0 - w2) - k2 * w3
    s4 = k1 * (w1 - w3) + k2 * w0
    s5 = k1 * w2 + k2 * w1
    s6 = k1 * w3 + k2 * w2
    s7 = k2 * w3
    return s0, s1, s2, s3, s4, s5, s6, s7


@triton.jit
def _line(origin, row, height, width):
    return origin + tl.minimum(tl.maximum(row, 0), height - 1) * width


@triton.jit
def _tap(image, line, column, width, there):
    return tl.load(image + line + tl.minimum(tl.maximum(column, 0), width - 1), there, 0.0)


@triton.jit
def _row(image, origin, row, column, height, width, there, w0, w1, w2, w3):
    """Value of one row of taps."""
    line = _line(origin, row, height, width)
    a = _tap(image, line, column - 1, width, there)
    b = _tap(image, line, column, width, there)
    c = _tap(image, line, column + 1, width, there)
    d = _tap(image, line, column + 2, width, there)
    return w0 * a + w1 * b + w2 * c + w3 * d


@triton.jit
def _row_slope(image, origin, row, column, height, width, there, s0, s1, s2, s3, s4, s5, s6, s7):
    """Derivative along one row of taps."""
    line = _line(origin, row, height, width)
    return (
        s0 * _tap(image, line, column - 3, width, there)
        + s1 * _tap(image, line, column - 2, width, there)
        + s2 * _tap(image, line, column - 1, width, there)
        + s3 * _tap(image, line, column, width, there)
        + s4 * _tap(image, line, column + 1, width, there)
        + s5 * _tap(image, line, column + 2, width, there)
        + s6 * _tap(image, line, column + 3, width, there)
        + s7 * _tap(image, line, column + 4, width, there)
    )


@triton.jit
def _difference(image, origin, row, column, row_step, column_step, height, width, there, k1, k2):
    """k1 (next - last) + k2 (next but one - last but one) along one axis of an image."""
    near = _at(image, origin, row + row_step, column + column_step, height, width, there)
    near -= _at(image, origin, row - row_step, column - column_step, height, width, there)
    far = _at(image, origin, row + 2 * row_step, column + 2 * column_step, height, width, there)
    far -= _at(image, origin, row - 2 * row_step, column - 2 * column_step, height, width, there)
    return k1 * near + k2 * far


@triton.jit
def _at(image, origin, row, column, height, width, there):
    return _tap(image, _line(origin, row, height, width), column, width, there)


@triton.jit(do_not_specialize=["height", "width"])
def edges_block(first, edge, height, width, sensitivity, k1, k2, EDGE_STEPS: tl.constexpr, BLOCK: tl.constexpr):
    """oracle.edge_steps as uint8; the grid is (blocks of a frame, pairs)."""
    inside_frame, there, origin = pixels_of_block(height * width, BLOCK)
    y, x = inside_frame // width, inside_frame % width
    gx = _difference(first, origin, y, x, 0, 1, height, width, there, k1, k2)
    gy = _difference(first, origin, y, x, 1, 0, height, width, there, k1, k2)
    steps = tl.floor(tl.minimum(EDGE_STEPS * sensitivity * tl.sqrt(gx * gx + gy * gy), 255.0) + 0.5)
    tl.store(edge + origin + inside_frame, steps.to(tl.uint8), there)


@triton.jit(do_not_specialize=["height", "width", "plane"])
def linearise_block(
    first,
    second,
    flow,  # (2, B, H, W)
    data,  # (3, B, H, W): ix, iy, rc
    light,  # (B, 2): offset and gain of the last fit
    sums,  # (5, B, blocks): of each block what the next fit needs
    height,
    width,
    plane,
    a,
    k1,
    k2,
    light_residual,
    BLOCK: tl.constexpr,
):
    """oracle.linearise around a flow, and the sums of oracle.relight over the block; the grid is (blocks, pairs)."""
    plane = plane.to(tl.int64)
    inside_frame, there, origin = pixels_of_block(height * width, BLOCK)
    at = origin + inside_frame
    u = tl.load(flow + at, there, 0.0)
    v = tl.load(flow + plane + at, there, 0.0)
    qx, qy, is_inside = landing(u, v, inside_frame, height, width)
    inside = is_inside.to(tl.float32)
    cx, cy = qx.to(tl.int32), qy.to(tl.int32)
    x0, x1, x2, x3 = _cubic(qx - cx.to(tl.float32), a)
    y0, y1, y2, y3 = _cubic(qy - cy.to(tl.float32), a)
    sx0, sx1, sx2, sx3, sx4, sx5, sx6, sx7 = _slopes(x0, x1, x2, x3, k1, k2)
    sy0, sy1, sy2, sy3, sy4, sy5, sy6, sy7 = _slopes(y0, y1, y2, y3, k1, k2)
    r0 = _row(second, origin, cy - 3, cx, height, width, there, x0, x1, x2, x3)
    r1 = _row(second, origin, cy - 2, cx, height, width, there, x0, x1, x2, x3)
    r2 = _row(second, origin, cy - 1, cx, height, width, there, x0, x1, x2, x3)
    r3 = _row(second, origin, cy, cx, height, width, there, x0, x1, x2, x3)
    r4 = _row(second, origin, cy + 1, cx, height, width, there, x0, x1, x2, x3)
    r5 = _row(second, origin, cy + 2, cx, height, width, there, x0, x1, x2, x3)
    r6 = _row(second, origin, cy + 3, cx, height, width, there, x0, x1, x2, x3)
    r7 = _row(second, origin, cy + 4, cx, height, width, there, x0, x1, x2, x3)
    value = y0 * r2 + y1 * r3 + y2 * r4 + y3 * r5
    gy = sy0 * r0 + sy1 * r1 + sy2 * r2 + sy3 * r3 + sy4 * r4 + sy5 * r5 + sy6 * r6 + sy7 * r7
    gx = (
        y0 * _row_slope(second, origin, cy - 1, cx, height, width, there, sx0, sx1, sx2, sx3, sx4, sx5, sx6, sx7)
        + y1 * _row_slope(second, origin, cy, cx, height, width, there, sx0, sx1, sx2, sx3, sx4, sx5, sx6, sx7)
        + y2 * _row_slope(second, origin, cy + 1, cx, height, width, there, sx0, sx1, sx2, sx3, sx4, sx5, sx6, sx7)
        + y3 * _row_slope(second, origin, cy + 2, cx, height, width, there, sx0, sx1, sx2, sx3, sx4, sx5, sx6, sx7)
    )
    gx, gy = inside * gx, inside * gy
    grey = tl.load(first + at, there, 0.0)
    residual = inside * (value - grey)
    tl.store(data + at, gx, there)
    tl.store(data + plane + at, gy, there)
    tl.store(data + 2 * plane + at, residual - gx * u - gy * v, there)
    if light_residual > 0:
        misfit = (residual - change_of_light(light, grey)) / light_residual
        grey = scaled(grey)
        weight = inside * there.to(tl.float32) / (1.0 + misfit * misfit)
        to = sums + tl.program_id(1) * tl.num_programs(0) + tl.program_id(0)
        step = tl.num_programs(0) * tl.num_programs(1)
        tl.store(to, tl.sum(weight))
        tl.store(to + step, tl.sum(weight * grey))
        tl.store(to + 2 * step, tl.sum(weight * grey * grey))
        tl.store(to + 3 * step, tl.sum(weight * residual))
        tl.store(to + 4 * step, tl.sum(weight * residual * grey))


@triton.jit(do_not_specialize=["pixels", "blocks"])
def light_block(sums, light, pixels, blocks, BLOCK: tl.constexpr):
    """The fit of oracle.relight from the sums of all blocks of a pair; the grid is (pairs,)."""
    w = _sum_of(sums, 0, blocks, BLOCK) + 1e-6 * pixels
    g = _sum_of(sums, 1, blocks, BLOCK)
    gg = _sum_of(sums, 2, blocks, BLOCK) + 0.01 * w
    r = _sum_of(sums, 3, blocks, BLOCK)
    rg = _sum_of(sums, 4, blocks, BLOCK)
    det = w * gg - g * g
    tl.store(light + 2 * tl.program_id(0), (gg * r - g * rg) / det)
    tl.store(light + 2 * tl.program_id(0) + 1, (w * rg - g * r) / det)


@triton.jit
def _sum_of(sums, number, blocks, BLOCK: tl.constexpr):
    total = tl.zeros((BLOCK,), tl.float32)
    start = sums + (number * tl.num_programs(0) + tl.program_id(0)) * blocks
    for done in range(0, blocks, BLOCK):
        at = done + tl.arange(0, BLOCK)
        total += tl.load(start + at, at < blocks, 0.0)
    return tl.sum(total)


@triton.jit(do_not_specialize=["pixels"])
def relight_block(first, light, rc, pixels, BLOCK: tl.constexpr):
    """Take the change of light from rc, in place; the grid is (blocks, pairs)."""
    inside_frame, there, origin = pixels_of_block(pixels, BLOCK)
    at = origin + inside_frame
    change = change_of_light(light, tl.load(first + at, there, 0.0))
    tl.store(rc + at, tl.load(rc + at, there, 0.0) - change, there)
