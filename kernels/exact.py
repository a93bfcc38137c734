"""Bilinear growth and sums that are alike to the last bit on every CPU.

torch's own round differently where multiplication and addition are fused and where vectors are wider. Nearly always
that is nothing; where numbers are equal but for rounding, as the means of attention maps that sum to 1, it decides what
lies above a median. Here every rounding is written down: that of torch on x86-64 with AVX2, which the golden vectors
came from. A few times slower than torch's own.
"""

import torch
from torch import Tensor

_LANES = 8
_ROWS = 4
_BLOCK = 16


def grow_bilinear(small_Mhw: Tensor, height: int, width: int) -> Tensor:
    """(M, h, w) grown to (M, height, width) by bilinear interpolation, `align_corners=False`; along rows first."""
    _, rows, columns = small_Mhw.shape
    left, right, weight_left, weight_right = _neighbours(columns, width, small_Mhw)
    wide_MhW = _blend(small_Mhw[..., left], small_Mhw[..., right], weight_left, weight_right)
    above, below, weight_above, weight_below = _neighbours(rows, height, small_Mhw)
    return _blend(wide_MhW[:, above], wide_MhW[:, below], weight_above[:, None], weight_below[:, None])


def sum_pixels(values_MHW: Tensor) -> Tensor:
    """Sum of each field, (M,), by additions in a fixed order: blocks of 16 vectors in 4 rows of 8 lanes each."""
    values_MN = values_MHW.flatten(1)
    fields, pixels = values_MN.shape
    per_turn = _ROWS * _LANES
    turns, vectors = pixels // per_turn, pixels // _LANES
    turns_MTRL = values_MN[:, : turns * per_turn].reshape(fields, turns, _ROWS, _LANES)
    blocks = turns // _BLOCK
    blocks_MBTRL = turns_MTRL[:, : blocks * _BLOCK].reshape(fields, blocks, _BLOCK, _ROWS, _LANES)
    total_MRL = _in_order(turns_MTRL[:, blocks * _BLOCK :]) + _in_order(_in_order(blocks_MBTRL.movedim(2, 1)))
    over_MVL = values_MN[:, turns * per_turn : vectors * _LANES].reshape(fields, -1, _LANES)
    total_ML = _in_order(torch.cat((total_MRL[:, :1], over_MVL, total_MRL[:, 1:]), dim=1))
    over_M = _in_order(values_MN[:, vectors * _LANES :])
    return _in_order(torch.cat((over_M[:, None], total_ML), dim=1))


def _in_order(values: Tensor) -> Tensor:
    """Sum along axis 1, one addition after the other."""
    total = values.new_zeros(values.shape[:1] + values.shape[2:])
    for term in values.unbind(1):
        total += term
    return total


def _blend(first: Tensor, second: Tensor, weight_first: Tensor, weight_second: Tensor) -> Tensor:
    return _fused(first, weight_first, second * weight_second)


def _fused(factor: Tensor, other: Tensor, term: Tensor) -> Tensor:
    """factor * other + term, rounded once: a product of two float32 is exact in float64."""
    return (factor.double() * other.double()).add_(term.double()).to(term.dtype)


def _neighbours(small: int, large: int, like: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Of each of `large` places: the two of `small` around it, and the weight of each."""
    scale = torch.tensor(small, dtype=like.dtype, device=like.device) / large
    middle = torch.arange(large, dtype=like.dtype, device=like.device) + 0.5
    place = _fused(middle, scale, torch.full_like(middle, -0.5)).clamp_(min=0)
    before = place.floor()
    weight_after = place - before
    index = before.long()
    return index, (index + 1).clamp_(max=small - 1), 1 - weight_after, weight_after
