# mypy: disable-error-code="untyped-decorator,no-untyped-def,no-untyped-call,assignment"
# ruff: noqa: RUF005 - Triton knows no (*tuple, more)
"""The iterations of TV-L1 in Triton, which has no types; kernels/tvl1/gpu.py launches them.

A program is one warp and owns a strip of 64 columns, two of them a lane, even and odd. It walks down the rows and does
STEPS iterations on the way: iteration k moves u of a row as soon as iteration k - 1 has left that row, and p of the
row above it as soon as u below is known. So every row goes through a pipeline of STEPS stages that lies in registers,
neighbours above and below are there, those left and right are in the same lane or the next, and nothing is shared
between warps. What a strip's sides and a chunk's ends cannot know reaches STEPS pixels far; the next strip or chunk
keeps those. It still reads the old values there, so that states alternate between two buffers.
"""

import triton
import triton.language as tl


@triton.jit
def _read(flow, state, data, edge, at, there, plane):
    """Of one row: u, v, p11, p12, p21, p22, ix, iy, rc and 64 (1/g - 1)."""
    return (
        tl.load(flow + at, there, 0.0),
        tl.load(flow + plane + at, there, 0.0),
        tl.load(state + 2 * plane + at, there, 0.0),
        tl.load(state + 3 * plane + at, there, 0.0),
        tl.load(state + 4 * plane + at, there, 0.0),
        tl.load(state + 5 * plane + at, there, 0.0),
        tl.load(data + at, there, 0.0),
        tl.load(data + plane + at, there, 0.0),
        tl.load(data + 2 * plane + at, there, 0.0),
        tl.load(edge + at, there, 0),
    )


@triton.jit
def _prepared(row, t, EDGE_STEPS: tl.constexpr, FLAT: tl.constexpr):
    """A row as the stages want it: with -1 / |gradient|^2 and t / g at its end."""
    u, v, p11, p12, p21, p22, ix, iy, rc, edge = row
    norm = ix * ix + iy * iy
    inverse = tl.where(norm > FLAT, -1.0 / tl.maximum(norm, FLAT), 0.0)
    weight = t * (1.0 + edge.to(tl.float32) / EDGE_STEPS)
    return u, v, p11, p12, p21, p22, ix, iy, rc, inverse, weight


@triton.jit
def _primal(row, left1, left2, above, limit, theta):
    """The row after its step of u; `left1` and `left2` are p11 and p21 of the column before."""
    u, v, p11, p12, p21, p22, ix, iy, rc, inverse, weight = row
    shift = tl.minimum(tl.maximum((rc + ix * u + iy * v) * inverse, -limit), limit)
    u = u + shift * ix + theta * (p11 - left1 + p12 - above[3])
    v = v + shift * iy + theta * (p21 - left2 + p22 - above[5])
    return u, v, p11, p12, p21, p22, ix, iy, rc, inverse, weight


@triton.jit
def _dual(row, right1, right2, below, has_right, has_below, t):
    """The row after its step of p; `right1` and `right2` are u and v of the column behind."""
    u, v, p11, p12, p21, p22, ix, iy, rc, inverse, weight = row
    ux = tl.where(has_right, right1 - u, 0.0)
    vx = tl.where(has_right, right2 - v, 0.0)
    uy = tl.where(has_below, below[0] - u, 0.0)
    vy = tl.where(has_below, below[1] - v, 0.0)
    # 1 / x as a squared root: one instruction, where a division looks for values that x >= 1 cannot have.
    root1 = tl.rsqrt(1.0 + weight * tl.sqrt(ux * ux + uy * uy))
    root2 = tl.rsqrt(1.0 + weight * tl.sqrt(vx * vx + vy * vy))
    shrink1, shrink2 = root1 * root1, root2 * root2
    p11, p12 = (p11 + t * ux) * shrink1, (p12 + t * uy) * shrink1
    p21, p22 = (p21 + t * vx) * shrink2, (p22 + t * vy) * shrink2
    return u, v, p11, p12, p21, p22, ix, iy, rc, inverse, weight


@triton.jit(do_not_specialize=["height", "width", "plane", "rows"])
def iterate_strip(
    flow,  # (2, B, H, W): u, v
    state,  # (6, B, H, W): of it only p11, p12, p21, p22
    state_out,  # (6, B, H, W): u, v, p11, p12, p21, p22
    data,  # (3, B, H, W): ix, iy, rc
    edge,  # (B, H, W) uint8: 64 (1/g - 1)
    height,
    width,
    plane,  # B H W
    rows,  # of a chunk
    limit,  # lambda theta
    theta,
    t,  # tau / theta
    STEPS: tl.constexpr,
    COLUMNS: tl.constexpr,
    BEFORE: tl.constexpr,
    EDGE_STEPS: tl.constexpr,
    FLAT: tl.constexpr,
):
    """STEPS iterations of oracle.step on a chunk of a strip; the grid is (strips, chunks, pairs)."""
    plane = plane.to(tl.int64)
    lane = tl.arange(0, COLUMNS // 2)
    lane_before, lane_behind = tl.maximum(lane - 1, 0), tl.minimum(lane + 1, COLUMNS // 2 - 1)
    strip, last_strip = tl.program_id(0), tl.num_programs(0) - 1
    x = strip * (COLUMNS - 2 * STEPS) - BEFORE + 2 * lane
    in_even, in_odd = (x >= 0) & (x < width), (x + 1 >= 0) & (x + 1 < width)
    right_even, right_odd = in_even & (x + 1 < width), in_odd & (x + 2 < width)
    first_kept = tl.where(strip == 0, 0, STEPS)
    end_kept = tl.where(strip == last_strip, COLUMNS, COLUMNS - STEPS)
    keep_even = in_even & (2 * lane >= first_kept) & (2 * lane < end_kept)
    keep_odd = in_odd & (2 * lane + 1 >= first_kept) & (2 * lane + 1 < end_kept)
    start = tl.program_id(1) * rows
    end = tl.minimum(start + rows, height)

    zero = tl.zeros((COLUMNS // 2,), tl.float32)
    empty = (zero, zero, zero, zero, zero, zero, zero, zero, zero, zero, zero)
    evens, odds = (empty,), (empty,)  # of every stage the row that waits for u of the next
    for _ in tl.static_range(STEPS - 1):
        evens, odds = evens + (empty,), odds + (empty,)
    y = tl.maximum(start - STEPS, 0)
    pair = tl.program_id(2).to(tl.int64) * height * width
    flow, state, state_out, data, edge = flow + pair, state + pair, state_out + pair, data + pair, edge + pair
    at = y * width + x
    next_even = _read(flow, state, data, edge, at, in_even, plane)
    next_odd = _read(flow, state, data, edge, at + 1, in_odd, plane)
    while y < end + STEPS:
        even, odd = _prepared(next_even, t, EDGE_STEPS, FLAT), _prepared(next_odd, t, EDGE_STEPS, FLAT)
        is_there = y + 1 < height
        next_even = _read(flow, state, data, edge, at + width, is_there & in_even, plane)
        next_odd = _read(flow, state, data, edge, at + width + 1, is_there & in_odd, plane)
        waiting_evens, waiting_odds = (), ()
        for k in tl.static_range(STEPS):
            above_even, above_odd = evens[k], odds[k]
            left1, left2 = tl.gather(odd[2], lane_before, 0), tl.gather(odd[4], lane_before, 0)
            odd = _primal(odd, even[2], even[4], above_odd, limit, theta)
            even = _primal(even, left1, left2, above_even, limit, theta)
            waiting_evens, waiting_odds = waiting_evens + (even,), waiting_odds + (odd,)
            # Of rows before the frame p stays 0, too, as the divergence at its top wants it.
            has_below = (y > k) & (y < height + k)
            right1, right2 = tl.gather(above_even[0], lane_behind, 0), tl.gather(above_even[1], lane_behind, 0)
            even = _dual(above_even, above_odd[0], above_odd[1], even, right_even, has_below, t)
            odd = _dual(above_odd, right1, right2, odd, right_odd, has_below, t)
        evens, odds = waiting_evens, waiting_odds
        is_done = y >= start + STEPS
        to = at - STEPS * width
        for number in tl.static_range(6):
            tl.store(state_out + number * plane + to, even[number], keep_even & is_done)
            tl.store(state_out + number * plane + to + 1, odd[number], keep_odd & is_done)
        y += 1
        at += width
