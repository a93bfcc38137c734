# mypy: disable-error-code="untyped-decorator,no-untyped-def,no-untyped-call"
"""Medians of TV-L1's flow in Triton, which has no types; kernels/tvl1/gpu.py launches them."""

import triton
import triton.language as tl


@triton.jit
def _pixels(height, width, total, BLOCK: tl.constexpr):
    """Of a block of all planes: where its pixels are, which of them there are, and their x and y."""
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    return at, at < total, at % width, (at // width) % height


@triton.jit
def _sort3(a, b, c):
    low, high = tl.minimum(a, b), tl.maximum(a, b)
    rest = tl.minimum(high, c)
    return tl.minimum(low, rest), tl.maximum(low, rest), tl.maximum(high, c)


@triton.jit
def median3_block(source, target, height, width, total, BLOCK: tl.constexpr):
    """3 x 3 median with replicated border, of planes of height x width, `total` pixels in all."""
    at, there, x, y = _pixels(height, width, total, BLOCK)
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
    at, there, x, y = _pixels(height, width, total, BLOCK)
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
