# mypy: disable-error-code="untyped-decorator,no-untyped-def,no-untyped-call"
"""Device code of TV-L1 in Triton, which has no types; kernels/tvl1/gpu.py launches it.

`iterate_tile` loads a TILE x TILE patch of everything, runs STEPS iterations in registers (neighbours through
`tl.gather`) and stores the inner part that the patch's border cannot have reached: STEPS pixels off every side.
Other tiles still read the old values there, so states alternate between two buffers.
"""

import triton
import triton.language as tl


@triton.jit
def iterate_tile(
    state_in,  # (6, B, H, W): u, v, p11, p12, p21, p22
    state_out,
    data,  # (3, B, H, W): ix, iy, rc
    edge,  # (B, H, W) uint8: 64 (1/g - 1)
    height,
    width,
    plane,  # B H W
    limit,  # lambda theta
    theta,
    t,  # tau / theta
    TILE: tl.constexpr,
    STEPS: tl.constexpr,
    EDGE_STEPS: tl.constexpr,
    FLAT: tl.constexpr,
):
    """STEPS iterations of oracle.step on a tile."""
    inner: tl.constexpr = TILE - 2 * STEPS
    i = tl.arange(0, TILE)
    x = (tl.program_id(0) * inner - STEPS + i)[None, :] + tl.zeros((TILE, TILE), tl.int32)
    y = (tl.program_id(1) * inner - STEPS + i)[:, None] + tl.zeros((TILE, TILE), tl.int32)
    there = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    at = tl.program_id(2).to(tl.int64) * height * width + y * width + x
    u = tl.load(state_in + at, there, 0.0)
    v = tl.load(state_in + plane + at, there, 0.0)
    p11 = tl.load(state_in + 2 * plane + at, there, 0.0)
    p12 = tl.load(state_in + 3 * plane + at, there, 0.0)
    p21 = tl.load(state_in + 4 * plane + at, there, 0.0)
    p22 = tl.load(state_in + 5 * plane + at, there, 0.0)
    ix = tl.load(data + at, there, 0.0)
    iy = tl.load(data + plane + at, there, 0.0)
    rc = tl.load(data + 2 * plane + at, there, 0.0)
    weight = t * (1.0 + tl.load(edge + at, there, 0).to(tl.float32) / EDGE_STEPS)
    norm = ix * ix + iy * iy
    inverse = tl.where(norm > FLAT, 1.0 / tl.maximum(norm, FLAT), 0.0)

    left = tl.maximum(i - 1, 0)[None, :] + tl.zeros((TILE, TILE), tl.int32)
    right = tl.minimum(i + 1, TILE - 1)[None, :] + tl.zeros((TILE, TILE), tl.int32)
    up = tl.maximum(i - 1, 0)[:, None] + tl.zeros((TILE, TILE), tl.int32)
    down = tl.minimum(i + 1, TILE - 1)[:, None] + tl.zeros((TILE, TILE), tl.int32)
    has_left, has_right, has_up, has_down = x > 0, x < width - 1, y > 0, y < height - 1
    for _ in tl.static_range(STEPS):
        shift = tl.minimum(tl.maximum(-(rc + ix * u + iy * v) * inverse, -limit), limit)
        div1 = (
            p11 - tl.where(has_left, tl.gather(p11, left, 1), 0.0) + p12 - tl.where(has_up, tl.gather(p12, up, 0), 0.0)
        )
        div2 = (
            p21 - tl.where(has_left, tl.gather(p21, left, 1), 0.0) + p22 - tl.where(has_up, tl.gather(p22, up, 0), 0.0)
        )
        u = u + shift * ix + theta * div1
        v = v + shift * iy + theta * div2
        u1x = tl.where(has_right, tl.gather(u, right, 1) - u, 0.0)
        u1y = tl.where(has_down, tl.gather(u, down, 0) - u, 0.0)
        u2x = tl.where(has_right, tl.gather(v, right, 1) - v, 0.0)
        u2y = tl.where(has_down, tl.gather(v, down, 0) - v, 0.0)
        shrink1 = 1.0 / (1.0 + weight * tl.sqrt(u1x * u1x + u1y * u1y))
        shrink2 = 1.0 / (1.0 + weight * tl.sqrt(u2x * u2x + u2y * u2y))
        p11 = (p11 + t * u1x) * shrink1
        p12 = (p12 + t * u1y) * shrink1
        p21 = (p21 + t * u2x) * shrink2
        p22 = (p22 + t * u2y) * shrink2

    kept = (i >= STEPS) & (i < TILE - STEPS)
    mine = there & kept[None, :] & kept[:, None]
    tl.store(state_out + at, u, mine)
    tl.store(state_out + plane + at, v, mine)
    tl.store(state_out + 2 * plane + at, p11, mine)
    tl.store(state_out + 3 * plane + at, p12, mine)
    tl.store(state_out + 4 * plane + at, p21, mine)
    tl.store(state_out + 5 * plane + at, p22, mine)


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
def _tap(image, line, column, width, there):
    return tl.load(image + line + tl.minimum(tl.maximum(column, 0), width - 1), there, 0.0)


@triton.jit
def _row(image, origin, row, column, height, width, there, w0, w1, w2, w3):
    """Value of one row of taps."""
    line = origin + tl.minimum(tl.maximum(row, 0), height - 1) * width
    a = _tap(image, line, column - 1, width, there)
    b = _tap(image, line, column, width, there)
    c = _tap(image, line, column + 1, width, there)
    d = _tap(image, line, column + 2, width, there)
    return w0 * a + w1 * b + w2 * c + w3 * d


@triton.jit
def _row_slope(image, origin, row, column, height, width, there, s0, s1, s2, s3, s4, s5, s6, s7):
    """Derivative along one row of taps."""
    line = origin + tl.minimum(tl.maximum(row, 0), height - 1) * width
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
def linearise_block(
    first,
    second,
    state,
    data,
    height,
    width,
    plane,
    a,
    k1,
    k2,
    BLOCK: tl.constexpr,
):
    """oracle.linearise: the data term at every pixel of a block, around the flow in `state`."""
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    there = at < plane
    inside_frame = at % (height * width)
    origin = at - inside_frame
    u = tl.load(state + at, there, 0.0)
    v = tl.load(state + plane + at, there, 0.0)
    x = (inside_frame % width).to(tl.float32) + u
    y = (inside_frame // width).to(tl.float32) + v
    qx = tl.minimum(tl.maximum(x, 0.0), width - 1.0)
    qy = tl.minimum(tl.maximum(y, 0.0), height - 1.0)
    inside = ((qx == x) & (qy == y)).to(tl.float32)
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
    rc = inside * (value - tl.load(first + at, there, 0.0)) - gx * u - gy * v
    tl.store(data + at, gx, there)
    tl.store(data + plane + at, gy, there)
    tl.store(data + 2 * plane + at, rc, there)


@triton.jit
def _sort3(a, b, c):
    low, high = tl.minimum(a, b), tl.maximum(a, b)
    rest = tl.minimum(high, c)
    return tl.minimum(low, rest), tl.maximum(low, rest), tl.maximum(high, c)


@triton.jit
def median3_block(source, target, height, width, total, BLOCK: tl.constexpr):
    """3 x 3 median with replicated border, of planes of height x width, `total` pixels in all."""
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    there = at < total
    x = at % width
    y = (at // width) % height
    left = tl.where(x > 0, -1, 0)
    right = tl.where(x < width - 1, 1, 0)
    up = at - tl.where(y > 0, width, 0)
    down = at + tl.where(y < height - 1, width, 0)
    a0, a1, a2 = _sort3(
        tl.load(source + up + left, there), tl.load(source + at + left, there), tl.load(source + down + left, there)
    )
    b0, b1, b2 = _sort3(tl.load(source + up, there), tl.load(source + at, there), tl.load(source + down, there))
    c0, c1, c2 = _sort3(
        tl.load(source + up + right, there), tl.load(source + at + right, there), tl.load(source + down + right, there)
    )
    low = tl.maximum(tl.maximum(a0, b0), c0)
    high = tl.minimum(tl.minimum(a2, b2), c2)
    _, mid, _ = _sort3(a1, b1, c1)
    _, result, _ = _sort3(low, mid, high)
    tl.store(target + at, result, there)


@triton.jit
def _order(a, b):
    return tl.minimum(a, b), tl.maximum(a, b)


@triton.jit
def _sort5(a, b, c, d, e):
    a, d = _order(a, d)
    b, e = _order(b, e)
    a, c = _order(a, c)
    b, d = _order(b, d)
    a, b = _order(a, b)
    c, e = _order(c, e)
    b, c = _order(b, c)
    d, e = _order(d, e)
    c, d = _order(c, d)
    return a, b, c, d, e


@triton.jit
def _sorted_column(source, at, x, y, offset, height, width, there):
    column = at - x + tl.minimum(tl.maximum(x + offset, 0), width - 1) - y * width
    last = height - 1
    return _sort5(
        tl.load(source + column + tl.maximum(y - 2, 0) * width, there),
        tl.load(source + column + tl.maximum(y - 1, 0) * width, there),
        tl.load(source + column + y * width, there),
        tl.load(source + column + tl.minimum(y + 1, last) * width, there),
        tl.load(source + column + tl.minimum(y + 2, last) * width, there),
    )


@triton.jit
def median5_block(source, target, height, width, total, BLOCK: tl.constexpr):
    """5 x 5 median with replicated border, as median3_block; median.h says where the network comes from."""
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    there = at < total
    x = at % width
    y = (at // width) % height
    a0, b0, c0, d0, e0 = _sorted_column(source, at, x, y, -2, height, width, there)
    a1, b1, c1, d1, e1 = _sorted_column(source, at, x, y, -1, height, width, there)
    a2, b2, c2, d2, e2 = _sorted_column(source, at, x, y, 0, height, width, there)
    a3, b3, c3, d3, e3 = _sorted_column(source, at, x, y, 1, height, width, there)
    a4, b4, c4, d4, e4 = _sorted_column(source, at, x, y, 2, height, width, there)
    _, _, _, a3, a4 = _sort5(a0, a1, a2, a3, a4)
    _, _, b2, b3, b4 = _sort5(b0, b1, b2, b3, b4)
    _, c1, c2, c3, _ = _sort5(c0, c1, c2, c3, c4)
    d0, d1, d2, _, _ = _sort5(d0, d1, d2, d3, d4)
    e0, e1, _, _, _ = _sort5(e0, e1, e2, e3, e4)
    c3, e0 = _order(c3, e0)
    c3, b2 = _order(c3, b2)
    b3, e1 = _order(b3, e1)
    d0, b3 = _order(d0, b3)
    a3, d1 = _order(a3, d1)
    a4, d2 = _order(a4, d2)
    b4, d1 = _order(b4, d1)
    c1, a4 = _order(c1, a4)
    c2, b2 = _order(c2, b2)
    a4, b3 = _order(a4, b3)
    c2, a4 = _order(c2, a4)
    b3, b2 = _order(b3, b2)
    b4, a4 = _order(b4, a4)
    b3, a4 = _order(b3, a4)
    b3, b4 = _order(b3, b4)
    tl.store(target + at, b4, there)
