"""TV-L1 in plain torch: the numbers that every backend is tested against, and the backend of last resort.

Minimises  sum g |grad u1| + g |grad u2| + lambda |rho(u)|  with rho linearised around the flow of the last warp, by
alternating the thresholding step of Zach, Pock and Bischof 2007 with a semi-implicit step of the dual variable p
(Chambolle 2004), coarse to fine. Any device, float32 or float64, whole batches; written to be read, not to be fast.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, pad

from kernels.tvl1.params import TVL1Params, level_sizes
from kernels.tvl1.pyramid import pyramid, resample

EDGE_STEPS = 64
"""1/g - 1 is kept in steps of 1/64, at most 255 of them: a byte per pixel."""
FLAT = 1.1920929e-7
"""A squared gradient up to this carries no data term (OpenCV's limit)."""
RETREAT_STRIDES_PX = (1, 3, 3)
"""So far a pixel looks along each axis for other flow, one after the other: 7 px in all."""
MISFIT_CAP, MISFIT_OUTSIDE = 8.0, 3.0
"""Grey values by which a flow misses at most, and those by which it is taken to miss where it leaves the frame."""
AS_GOOD = 1e-3
"""Grey values that make no difference: on a plain surface rounding would decide."""


class Linearisation(NamedTuple):
    """rho(u) = rc + ix u + iy v around the flow at which I1 was warped; all (B, H, W)."""

    ix: Tensor
    iy: Tensor
    rc: Tensor


class Light(NamedTuple):
    """Change of light from the first frame to the second, I1 - I0 = offset + gain (I0 - 128) / 64; both (B, 1, 1)."""

    offset: Tensor
    gain: Tensor


class State(NamedTuple):
    """Flow and dual variable, all (B, H, W); u[0] = u, u[1] = v, p[axis of u][axis of the derivative]."""

    u: tuple[Tensor, Tensor]
    p: tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]


def flow(first_BHW: Tensor, second_BHW: Tensor, params: TVL1Params) -> Tensor:
    """Flow (B, H, W, 2) in px of float grey frames 0..255, in their dtype and on their device."""
    batch, height, width = first_BHW.shape
    sizes = level_sizes(height, width, params)
    firsts, seconds = (pyramid(frames, sizes, params) for frames in (first_BHW, second_BHW))
    u = first_BHW.new_zeros(batch, *sizes[-1]), first_BHW.new_zeros(batch, *sizes[-1])
    light = no_light(first_BHW)
    for first, second, (rows, columns) in zip(reversed(firsts), reversed(seconds), reversed(sizes), strict=True):
        gain_v, gain_u = rows / u[0].shape[1], columns / u[0].shape[2]
        if u[0].shape[1:] != first.shape[1:]:
            u = resample(u[0], rows, columns) * gain_u, resample(u[1], rows, columns) * gain_v
        u, light = solve_level(first, second, u, light, params)
        if params.retreat and first.shape != first_BHW.shape:
            u = retreat(first, second, u, light)
    return torch.stack([median(field, params.final_median_px) for field in u], dim=-1)


def solve_level(
    first: Tensor, second: Tensor, u: tuple[Tensor, Tensor], light: Light, params: TVL1Params
) -> tuple[tuple[Tensor, Tensor], Light]:
    """The flow and the change of light of one pyramid level from first guesses."""
    zero = torch.zeros_like(u[0])
    state = State(u, ((zero, zero), (zero, zero)))
    edge = edge_steps(first, params)
    for _ in range(params.warps):
        data, light = relight(first, state.u, linearise(first, second, state.u, params), light, params)
        active = torch.ones(len(first), 1, 1, dtype=torch.bool, device=first.device)
        for _ in range(params.median_rounds):
            filtered = State((median(state.u[0], params.median_px), median(state.u[1], params.median_px)), state.p)
            state = _where(active, filtered, state)
            for _ in range(params.iterations):
                moved = step(state, data, edge, params)
                if params.epsilon == 0:
                    state = moved
                    continue
                change = sum(
                    (new - old).square().mean((1, 2), keepdim=True) for new, old in zip(moved.u, state.u, strict=True)
                )
                state = _where(active, moved, state)
                active = active & (change > params.epsilon**2)
                if not active.any():
                    break
            if not active.any():
                break
    return state.u, light


def retreat(first: Tensor, second: Tensor, u: tuple[Tensor, Tensor], light: Light) -> tuple[Tensor, Tensor]:
    """The flow of a coarse level without what it spread beyond the objects that move so.

    A fast object takes plain surroundings along, which fit its motion as well as their own. So every pixel takes, from
    up to 7 px away, the flow that is nearest to the dominant motion (the median of u and of v), where that fits as
    well: where the mean over 5 x 5 px of |I1(x + u) - I0 - change of light|, capped, is no greater.
    """
    distance = (u[0] - _middle(u[0])).square() + (u[1] - _middle(u[1])).square()
    nearest = torch.stack([*u, distance])
    for axis in (3, 2):
        for stride_px in RETREAT_STRIDES_PX:
            nearest = _least_distant(nearest, axis, stride_px)
    nearby = nearest[0], nearest[1]
    worse = _box(_misfit(first, second, nearby, light) - _misfit(first, second, u, light), 5)
    return torch.where(worse < AS_GOOD, nearby[0], u[0]), torch.where(worse < AS_GOOD, nearby[1], u[1])


def _middle(field_BHW: Tensor) -> Tensor:
    """Median (B, 1, 1) of every other pixel of every other row, of an even number the lower one."""
    values = field_BHW[:, ::2, ::2].flatten(1).sort(dim=1).values
    return values[:, (values.shape[1] - 1) // 2, None, None]


def _least_distant(planes_3BHW: Tensor, axis: int, stride_px: int) -> Tensor:
    """Of every pixel and those `stride_px` before and after it on an axis, the one whose last plane is least."""
    last = planes_3BHW.shape[axis] - 1
    at = torch.arange(last + 1, device=planes_3BHW.device)
    best = planes_3BHW
    for offset_px in (-stride_px, stride_px):
        other = planes_3BHW.index_select(axis, (at + offset_px).clamp(0, last))
        best = torch.where(other[2] < best[2], other, best)
    return best


def _misfit(first: Tensor, second: Tensor, u: tuple[Tensor, Tensor], light: Light) -> Tensor:
    """|I1(x + u) - I0 - change of light|, at most MISFIT_CAP, and MISFIT_OUTSIDE there; I1 is sampled bilinearly."""
    batch, height, width = first.shape
    qx, qy, inside = landing(u)
    cx, cy = qx.long(), qy.long()
    pixels = second.reshape(batch, height * width)
    corners = [
        pixels.gather(1, ((cy + dy).clamp(max=height - 1) * width + (cx + dx).clamp(max=width - 1)).flatten(1))
        for dy in (0, 1)
        for dx in (0, 1)
    ]
    top, top_right, low, low_right = (corner.reshape(first.shape) for corner in corners)
    top, low = (left + (qx - cx) * (right - left) for left, right in ((top, top_right), (low, low_right)))
    misfit = (top + (qy - cy) * (low - top) - first - light.offset - light.gain * (first - 128) / 64).abs()
    return torch.where(inside > 0, misfit.clamp(max=MISFIT_CAP), torch.full_like(misfit, MISFIT_OUTSIDE))


def _box(field_BHW: Tensor, side_px: int) -> Tensor:
    """Mean over a square window, replicated border."""
    wide = pad(field_BHW[:, None], (side_px // 2,) * 4, mode="replicate")
    return avg_pool2d(wide, side_px, stride=1)[:, 0]


def step(state: State, data: Linearisation, edge_steps_BHW: Tensor, params: TVL1Params) -> State:
    """One iteration: threshold rho, add theta div p to u, then move p along the forward differences of u."""
    (u, v), p = state
    ix, iy, rc = data
    norm = ix * ix + iy * iy
    inverse = torch.where(norm > FLAT, 1 / norm.clamp(min=FLAT), torch.zeros_like(norm))
    limit = params.data_weight * params.theta
    shift = (-(rc + ix * u + iy * v) * inverse).clamp(-limit, limit)
    u = u + shift * ix + params.theta * _divergence(*p[0])
    v = v + shift * iy + params.theta * _divergence(*p[1])
    t = params.tau / params.theta
    weight = t * (1 + edge_steps_BHW / EDGE_STEPS)
    moved = []
    for field, (px, py) in zip((u, v), p, strict=True):
        dx = pad(field[:, :, 1:] - field[:, :, :-1], (0, 1))
        dy = pad(field[:, 1:] - field[:, :-1], (0, 0, 0, 1))
        shrink = 1 / (1 + weight * (dx * dx + dy * dy).sqrt())
        moved.append(((px + t * dx) * shrink, (py + t * dy) * shrink))
    return State((u, v), (moved[0], moved[1]))


def _divergence(px: Tensor, py: Tensor) -> Tensor:
    return px - pad(px[:, :, :-1], (1, 0)) + py - pad(py[:, :-1], (0, 0, 1, 0))


def _where(active: Tensor, new: State, old: State) -> State:
    u = tuple(torch.where(active, a, b) for a, b in zip(new.u, old.u, strict=True))
    p = [tuple(torch.where(active, a, b) for a, b in zip(n, o, strict=True)) for n, o in zip(new.p, old.p, strict=True)]
    return State((u[0], u[1]), ((p[0][0], p[0][1]), (p[1][0], p[1][1])))


def linearise(first: Tensor, second: Tensor, u: tuple[Tensor, Tensor], params: TVL1Params) -> Linearisation:
    """Warp the second image by u with cubic convolution (Keys 1981) and linearise its difference to the first.

    Its derivatives are differences of the warped interpolant. Pixels that land outside have no data term.
    """
    batch, height, width = first.shape
    qx, qy, inside = landing(u)
    cx, cy = qx.floor(), qy.floor()
    value_x, slope_x = tap_weights(qx - cx, params)
    value_y, slope_y = tap_weights(qy - cy, params)
    pixels = second.reshape(batch, height * width)
    columns = [(cx.long() + k - 3).clamp(0, width - 1) for k in range(8)]
    sampled, gx, gy = (torch.zeros_like(first) for _ in range(3))
    for row in range(8):
        line = (cy.long() + row - 3).clamp(0, height - 1) * width
        for column in range(8):
            if not (2 <= row <= 5 or 2 <= column <= 5):
                continue
            tap = pixels.gather(1, (line + columns[column]).reshape(batch, height * width)).reshape(first.shape)
            sampled = sampled + value_y[row] * value_x[column] * tap
            gx = gx + value_y[row] * slope_x[column] * tap
            gy = gy + slope_y[row] * value_x[column] * tap
    gx, gy = inside * gx, inside * gy
    return Linearisation(gx, gy, inside * (sampled - first) - gx * u[0] - gy * u[1])


def landing(u: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """Where every pixel lands, x and y, moved into the frame, and 1 where it was inside, else 0; all (B, H, W)."""
    _, height, width = u[0].shape
    y = torch.arange(height, dtype=u[1].dtype, device=u[1].device)[:, None] + u[1]
    x = torch.arange(width, dtype=u[0].dtype, device=u[0].device) + u[0]
    qx, qy = x.clamp(0, width - 1), y.clamp(0, height - 1)
    return qx, qy, ((qx == x) & (qy == y)).to(x.dtype)


def no_light(frames_BHW: Tensor) -> Light:
    """No change of light, for each pair."""
    return Light(*(frames_BHW.new_zeros(len(frames_BHW), 1, 1) for _ in range(2)))


def relight(
    first: Tensor, u: tuple[Tensor, Tensor], data: Linearisation, light: Light, params: TVL1Params
) -> tuple[Linearisation, Light]:
    """Fit the change of light to rho(u) and take it from rho: one step of least squares, reweighted by the last fit.

    A pixel that misses the last fit by e weighs 1 / (1 + (e / light_residual)^2), outside the frame 0. A little ridge
    is there for frames without contrast.
    """
    if params.light_residual == 0:
        return data, light
    ix, iy, rc = data
    grey = (first - 128) / 64
    residual = rc + ix * u[0] + iy * u[1]
    misfit = residual - light.offset - light.gain * grey
    weight = landing(u)[2] / (1 + (misfit / params.light_residual).square())
    pixels = first.shape[1] * first.shape[2]
    w, g, gg, r, rg = (
        (weight * plane).sum((1, 2), keepdim=True)
        for plane in (torch.ones_like(grey), grey, grey * grey, residual, residual * grey)
    )
    w = w + 1e-6 * pixels
    gg = gg + 0.01 * w
    det = w * gg - g * g
    light = Light((gg * r - g * rg) / det, (w * rg - g * r) / det)
    return Linearisation(ix, iy, rc - light.offset - light.gain * grey), light


def tap_weights(fraction: Tensor, params: TVL1Params) -> tuple[list[Tensor], list[Tensor]]:
    """Weights of the taps -3..4 around a landing, for the value and for its derivative."""
    a, f, zero = params.cubic_a, fraction, torch.zeros_like(fraction)
    inner = [((a + 2) * d - (a + 3)) * d * d + 1 for d in (f, 1 - f)]
    outer = [a * (((d - 5) * d + 8) * d - 4) for d in (1 + f, 2 - f)]
    value = [zero, zero, outer[0], *inner, outer[1], zero, zero]
    return value, [sum((w * value[k - d] for d, w in _derivative(params) if 0 <= k - d < 8), zero) for k in range(8)]


def _derivative(params: TVL1Params) -> list[tuple[int, float]]:
    """(distance, weight) of the taps of a first derivative."""
    if params.five_point:
        return [(-2, 1 / 12), (-1, -8 / 12), (1, 8 / 12), (2, -1 / 12)]
    return [(-1, -0.5), (1, 0.5)]


def gradient(image: Tensor, params: TVL1Params) -> tuple[Tensor, Tensor]:
    """Derivatives along x and y, replicated border."""
    _, height, width = image.shape
    wide = pad(image[:, None], (2, 2, 2, 2), mode="replicate")[:, 0]
    taps = _derivative(params)
    along_x = sum((w * wide[:, 2 : 2 + height, 2 + d : 2 + d + width] for d, w in taps), torch.zeros_like(image))
    along_y = sum((w * wide[:, 2 + d : 2 + d + height, 2 : 2 + width] for d, w in taps), torch.zeros_like(image))
    return along_x, along_y


def edge_steps(first: Tensor, params: TVL1Params) -> Tensor:
    """64 (1/g - 1) of g = 1 / (1 + alpha |grad I0|), rounded, at most 255; in the dtype of the image."""
    gx, gy = gradient(first, params)
    return (EDGE_STEPS * params.edge_sensitivity * (gx * gx + gy * gy).sqrt()).clamp(max=255).add(0.5).floor()


def median(field_BHW: Tensor, side_px: int) -> Tensor:
    """Median over a square window, replicated border."""
    if side_px == 1:
        return field_BHW
    _, height, width = field_BHW.shape
    reach = side_px // 2
    wide = pad(field_BHW[:, None], (reach,) * 4, mode="replicate")[:, 0]
    shifts = [wide[:, y : y + height, x : x + width] for y in range(side_px) for x in range(side_px)]
    return torch.stack(shifts).median(dim=0).values
