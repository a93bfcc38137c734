"""How much, where and how differently things move: motion boundaries, attention, motion differences (METHOD 1.2)."""

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from kernels.arrays import ArrayT, flow_tensor, like, to_tensor
from kernels.colour import lookup, wheel_position, wheel_ramps
from kernels.differences import Painter, library
from kernels.errors import KernelInputError
from kernels.exact import grow_bilinear, sum_pixels
from kernels.rotation import NORMALISE_EPSILON_PX

AttentionMode = Literal["max", "sum"]
WEIGHTS = ("rgb_map", "motion_map", "attention_map")
ATTENTIONS = ("max", "sum", "none")
POOLS = ("avg", "max")

_TINY = 1e-12
"""Least divisor of the attention: a field without motion gets attention 0, not NaN (METHOD D18)."""
_CHUNK_PIXELS = {"cpu": 1 << 17}
_CHUNK_PIXELS_ELSEWHERE = 1 << 23


def default_window_px(height: int) -> int:
    """Side of the attention window on a grid of `height` rows: 28 px belong to 384 rows."""
    return max(1, round(28 * height / 384))


def motion_boundary(flow_MHW2: ArrayT) -> ArrayT:
    """E = sqrt(Sx(u)^2 + Sy(u)^2 + Sx(v)^2 + Sy(v)^2), (M, H, W) (METHOD 1.2.1).

    S is the unnormalised 3x3 Sobel operator, borders reflected at the pixel's edge: E is 8 times a slope in px per px.
    Raises KernelInputError for arrays that are no flow.
    """
    tensor = flow_tensor(flow_MHW2, "flow_MHW2", ndim=4)
    return like(_boundary(tensor[..., 0], tensor[..., 1]), flow_MHW2)


def attention(boundary_MHW: ArrayT, *, mode: AttentionMode = "max", window_px: int | None = 28) -> ArrayT:
    """A = bilinear_up(avg_pool(E)) over its maximum or its sum in each field, (M, H, W) (METHOD 1.2.2).

    `window_px` is side and stride of the pooling; None scales 28 px at 384 rows to this grid; a window larger than the
    grid becomes the grid's side. A field with E = 0 everywhere has A = 0.
    Raises KernelInputError for another shape, mode or window.
    """
    boundary = to_tensor(boundary_MHW, "boundary_MHW")
    if boundary.ndim != 3 or 0 in boundary.shape[1:] or not boundary.is_floating_point():
        raise KernelInputError(
            f"boundary_MHW has shape {tuple(boundary.shape)}, dtype {boundary.dtype}; floating point (M, H, W) needed"
        )
    _check_choice("mode", mode, ("max", "sum"))
    window = _window(window_px, boundary.shape[1])
    return like(_attention(boundary, mode, window), boundary_MHW)


def field_differences(
    flow_MHW2: ArrayT,
    *,
    weight: str = "rgb_map",
    attention: str = "max",
    pool: str = "avg",
    window_px: int | None = 28,
) -> ArrayT:
    """Motion differences d_j of one video's fields, (M,) float32 (METHOD 1.2, steps 1 to 4).

    `rgb_map`: d_j = pool over pixels of `norm(G_j - G_j+1)`, G the colour picture 0..255 times the attention;
    d_M-1 = 0.
    `motion_map`, `attention_map`: d_j = pool of E_j, of A_j: no difference. `attention="none"` leaves G = the colours.
    `pool` is `avg` or `max`; `window_px` as in :func:`attention`.

    Works through the fields in chunks that stay in the cache: memory does not grow with M.
    Raises KernelInputError for arrays that are no flow, NaN or infinite vectors, and choices that do not exist.
    """
    tensor = flow_tensor(flow_MHW2, "flow_MHW2", ndim=4)
    _check_choice("weight", weight, WEIGHTS)
    _check_choice("attention", attention, ATTENTIONS)
    _check_choice("pool", pool, POOLS)
    if weight == "attention_map" and attention == "none":
        raise KernelInputError("weight attention_map with attention none leaves nothing; choose attention max or sum")
    num_fields, height, width, _ = tensor.shape
    window = _window(window_px, height)
    chunk = max(1, _CHUNK_PIXELS.get(tensor.device.type, _CHUNK_PIXELS_ELSEWHERE) // (height * width))
    differences_M = tensor.new_zeros(num_fields)
    last: Tensor | None = None
    painter: Painter | None = None
    is_usual = weight == "rgb_map" and attention != "none" and tensor.device.type == "cpu"
    if is_usual and tensor.dtype == torch.float32 and library() is not None:
        tensor = tensor.contiguous()
        painter = Painter(min(chunk, num_fields), height, width)
    for start in range(0, num_fields, chunk):
        stop = min(start + chunk, num_fields)
        if painter is not None:
            boundary = painter.boundaries(tensor[start:stop])
            found = _pool(painter.distances(*_spread(boundary, attention, window, exact=False)), pool)
            differences_M[max(0, start - 1) : stop - 1] = found if start else found[1:]
            continue
        flow_2MHW = tensor[start:stop].movedim(-1, 0).contiguous()
        if weight == "rgb_map":
            weighted = _colours(flow_2MHW)
            if attention != "none":
                weighted *= _attention(_boundary(*flow_2MHW, exact=False), attention, window, exact=False)
            if last is not None:
                differences_M[start - 1] = _pool(_distance(last, weighted[:, :1]), pool)[0]
            differences_M[start : stop - 1] = _pool(_distance(weighted[:, :-1], weighted[:, 1:]), pool)
            last = weighted[:, -1:]
        else:
            values = _boundary(*flow_2MHW)
            if weight == "attention_map":
                values = _attention(values, attention, window)
            # Means of maps that sum to 1 differ by rounding alone, and the choice of clips must not by the CPU.
            differences_M[start:stop] = _pool(values, pool, exact=weight == "attention_map")
    if num_fields == 1 and not bool(torch.isfinite(tensor).all()):
        differences_M[0] = torch.nan  # there is no difference that would tell
    if not bool(torch.isfinite(differences_M).all()):
        bad = int(torch.nonzero(~torch.isfinite(differences_M))[0, 0])
        raise KernelInputError(
            f"flow_MHW2 of shape {tuple(tensor.shape)} holds NaN or infinite vectors around field {bad}; "
            "leave those fields out or set the vectors to 0"
        )
    return like(differences_M, flow_MHW2)


def _check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise KernelInputError(f"{name} is {value!r}; choose one of {', '.join(choices)}")


def _window(window_px: int | None, height: int) -> int:
    window = default_window_px(height) if window_px is None else window_px
    if window < 1:
        raise KernelInputError(f"window_px is {window}; give at least 1, or None to scale 28 px at 384 rows")
    return window


def _boundary(u_MHW: Tensor, v_MHW: Tensor, *, exact: bool = True) -> Tensor:
    """E, by default to the last bit of SciPy's Sobel and NumPy's root on float32, which the golden vectors came from.

    Smoothing and root in the flow's own precision are off by a bit or two and save a third of a colour map's time.
    """
    wide = torch.float64 if exact else u_MHW.dtype
    total: Tensor | None = None
    for component in (u_MHW, v_MHW):
        padded = F.pad(component[None], (1, 1, 1, 1), mode="replicate")[0]  # half-sample reflection of one pixel
        across = _smooth(padded[..., 2:] - padded[..., :-2], 1, wide)
        down = _smooth(padded[:, 2:] - padded[:, :-2], 2, wide)
        across.mul_(across)
        total = across if total is None else total.add_(across)
        total.add_(down.mul_(down))
    assert total is not None
    return total.to(wide).sqrt_().to(total.dtype)


def _smooth(values: Tensor, dim: int, wide: torch.dtype) -> Tensor:
    """[1, 2, 1] along an axis, which gets shorter by 2; summed in `wide`."""
    terms, length = values.to(wide), values.shape[dim] - 2
    total = terms.narrow(dim, 0, length) + terms.narrow(dim, 2, length)
    return total.add_(terms.narrow(dim, 1, length), alpha=2).to(values.dtype)


def _attention(boundary_MHW: Tensor, mode: str, window_px: int, *, exact: bool = True) -> Tensor:
    """A, by default to the last bit of the golden vectors, on every CPU; else by torch's own, which are faster."""
    spread, whole_M = _spread(boundary_MHW, mode, window_px, exact=exact)
    return spread.div_(whole_M[:, None, None])


def _spread(boundary_MHW: Tensor, mode: str, window_px: int, *, exact: bool = True) -> tuple[Tensor, Tensor]:
    """A in two parts: (M, H, W) over (M,)."""
    _, height, width = boundary_MHW.shape
    window = (min(window_px, height), min(window_px, width))
    pooled = F.avg_pool2d(boundary_MHW[None], window)
    if exact:
        spread = grow_bilinear(pooled[0], height, width)
        whole_M = spread.amax(dim=(1, 2)) if mode == "max" else sum_pixels(spread)
    else:
        spread = F.interpolate(pooled, size=(height, width), mode="bilinear", align_corners=False)[0]
        whole_M = spread.amax(dim=(1, 2)) if mode == "max" else spread.sum(dim=(1, 2))
    return spread, whole_M.clamp_(min=_TINY)


def _colours(flow_2MHW: Tensor) -> Tensor:
    """Colour pictures 0..255 of the fields, each normalised by its largest radius; (3, M, H, W)."""
    u, v = flow_2MHW
    radius = torch.sqrt(u * u + v * v)
    radius.div_(radius.amax(dim=(1, 2), keepdim=True).add_(NORMALISE_EPSILON_PX))
    index, fraction = wheel_position(u, v)  # the direction does not change with the scale
    missing_3K, step_3K = wheel_ramps(u.device, u.dtype)
    colours = torch.empty((3, *u.shape), dtype=u.dtype, device=u.device)
    for colour, missing_K, step_K in zip(colours, missing_3K, step_3K, strict=True):
        missing = lookup(missing_K, index).addcmul_(fraction, lookup(step_K, index))
        torch.mul(radius, missing, out=colour)
        colour.neg_().add_(255).floor_()
    return colours


def _distance(first_3MHW: Tensor, second_3MHW: Tensor) -> Tensor:
    difference = first_3MHW - second_3MHW
    return difference.mul_(difference).sum(dim=0).sqrt_()


def _pool(values_MHW: Tensor, pool: str, *, exact: bool = False) -> Tensor:
    if pool == "max":
        return values_MHW.amax(dim=(1, 2))
    return sum_pixels(values_MHW) / values_MHW[0].numel() if exact else values_MHW.mean(dim=(1, 2))
