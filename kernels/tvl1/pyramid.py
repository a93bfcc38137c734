"""The pyramid of the oracle: frames shrunk, flow enlarged."""

import torch
from torch import Tensor

from kernels.tvl1.params import TVL1Params


def pyramid(frames_BHW: Tensor, sizes: list[tuple[int, int]], params: TVL1Params) -> list[Tensor]:
    """The frames at every size, finest first."""
    sigma = params.presmooth * (1 / params.scale_step**2 - 1) ** 0.5
    levels = [frames_BHW]
    for rows, columns in sizes[1:]:
        levels.append(resample(levels[-1], rows, columns, sigma_px=sigma))
    return levels


def resample(field_BHW: Tensor, rows: int, columns: int, *, sigma_px: float = 0.0) -> Tensor:
    """Half-pixel bilinear resampling after a Gaussian of `sigma_px` source pixels, replicated border."""
    _, height, width = field_BHW.shape
    down, across = (resampling(*ends, sigma_px).to(field_BHW) for ends in ((height, rows), (width, columns)))
    return down @ field_BHW @ across.T


def resampling(source: int, target: int, sigma_px: float) -> Tensor:
    """Matrix (target, source) of one axis, float64."""
    reach = max(1, -int(-3 * sigma_px // 1)) if sigma_px > 0 else 0
    offsets = torch.arange(-reach, reach + 1)
    bell = torch.exp(-0.5 * (offsets / sigma_px).double() ** 2) if reach else torch.ones(1, dtype=torch.float64)
    bell = bell / bell.sum()
    at = ((torch.arange(target, dtype=torch.float64) + 0.5) * (source / target) - 0.5).clamp(0, source - 1)
    low = at.long()
    matrix = torch.zeros(target, source, dtype=torch.float64)
    for base, share in ((low, 1 - (at - low)), (low + 1, at - low)):
        for offset, weight in zip(offsets.tolist(), bell.tolist(), strict=True):
            matrix.scatter_add_(1, (base + offset).clamp(0, source - 1)[:, None], (share * weight)[:, None])
    return matrix
