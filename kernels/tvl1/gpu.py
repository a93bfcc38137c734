"""TV-L1 on CUDA through Triton: whole batches on one device, no host synchronisation between first and last launch."""

import functools

import torch
import triton
from torch import Tensor

from kernels.tvl1 import oracle
from kernels.tvl1.params import TVL1Params, level_sizes
from kernels.tvl1.pyramid import resampling
from kernels.tvl1.tiles import iterate_tile, linearise_block, median3_block, median5_block

TILE = 32
"""Side of a tile in px; 64 spills registers."""
STEPS = 4
"""Iterations that a tile stays on chip."""
WARPS = 8
"""Warps of a tile: 4 pixels a thread need about 106 registers, so that two tiles fit a multiprocessor."""
BLOCK = 128
"""Pixels of a program of the pointwise kernels."""


def flow(first_BHW: Tensor, second_BHW: Tensor, params: TVL1Params) -> Tensor:
    """Flow (B, H, W, 2) float32 in px of float32 grey frames 0..255 on one CUDA device.

    `params.epsilon` is ignored: all iterations run, since asking how far they got would stop the device.
    """
    batch, height, width = first_BHW.shape
    sizes = level_sizes(height, width, params)
    if batch == 0:
        return first_BHW.new_zeros(0, height, width, 2)
    firsts, seconds = (_pyramid(frames.contiguous(), sizes, params) for frames in (first_BHW, second_BHW))
    u_2BHW, light = first_BHW.new_zeros(2, batch, *sizes[-1]), oracle.no_light(first_BHW)
    for first, second in zip(reversed(firsts), reversed(seconds), strict=True):
        if u_2BHW.shape[2:] != first.shape[1:]:
            gains = [first.shape[2] / u_2BHW.shape[3], first.shape[1] / u_2BHW.shape[2]]
            u_2BHW = torch.stack([_resample(u, *first.shape[1:]) * gain for u, gain in zip(u_2BHW, gains, strict=True)])
        u_2BHW, light = _solve_level(first, second, u_2BHW, light, params)
        if params.retreat and first.shape != first_BHW.shape:
            u_2BHW = torch.stack(oracle.retreat(first, second, (u_2BHW[0], u_2BHW[1]), light))
    if params.final_median_px > 1:
        finished = torch.empty_like(u_2BHW)
        median(u_2BHW, finished, params.final_median_px)
        u_2BHW = finished
    return u_2BHW.permute(1, 2, 3, 0).contiguous()


def _solve_level(
    first: Tensor, second: Tensor, u_2BHW: Tensor, light: oracle.Light, params: TVL1Params
) -> tuple[Tensor, oracle.Light]:
    states = [first.new_zeros(6, *first.shape), first.new_empty(6, *first.shape)]  # tiles read one and write the other
    states[0][:2] = u_2BHW
    data = first.new_empty(3, *first.shape)
    edge = oracle.edge_steps(first, params).to(torch.uint8)
    for _ in range(params.warps):
        linearise(first, second, states[0], data, params)
        lit, light = oracle.relight(
            first, (states[0][0], states[0][1]), oracle.Linearisation(data[0], data[1], data[2]), light, params
        )
        data[2] = lit.rc
        for _ in range(params.median_rounds):
            if params.median_px > 1:
                median(states[0][:2], states[1][:2], params.median_px)
                states[0][:2] = states[1][:2]
            left = params.iterations
            while left > 0:
                iterate(states[0], states[1], data, edge, params, min(STEPS, left))
                states.reverse()
                left -= STEPS
    return states[0][:2], light


def iterate(state_in: Tensor, state_out: Tensor, data: Tensor, edge: Tensor, params: TVL1Params, steps: int) -> None:
    """`steps` iterations from one state (6, B, H, W) into another."""
    _, batch, height, width = state_in.shape
    inner = TILE - 2 * steps
    iterate_tile[(triton.cdiv(width, inner), triton.cdiv(height, inner), batch)](
        state_in,
        state_out,
        data,
        edge,
        height,
        width,
        batch * height * width,
        params.data_weight * params.theta,
        params.theta,
        params.tau / params.theta,
        TILE=TILE,
        STEPS=steps,
        EDGE_STEPS=oracle.EDGE_STEPS,
        FLAT=oracle.FLAT,
        num_warps=WARPS,
    )


def linearise(first: Tensor, second: Tensor, state: Tensor, data: Tensor, params: TVL1Params) -> None:
    """Fill data (3, B, H, W) with the linearisation around the flow in state (6, B, H, W)."""
    batch, height, width = first.shape
    k1, k2 = (8 / 12, -1 / 12) if params.five_point else (0.5, 0.0)
    plane = batch * height * width
    linearise_block[(triton.cdiv(plane, BLOCK),)](
        first,
        second,
        state,
        data,
        height,
        width,
        plane,
        params.cubic_a,
        k1,
        k2,
        BLOCK=BLOCK,
    )


def median(source: Tensor, target: Tensor, side_px: int) -> None:
    """3 x 3 or 5 x 5 median of contiguous planes (..., H, W) into `target`."""
    height, width = source.shape[-2:]
    total = source.numel()
    block = median3_block if side_px == 3 else median5_block
    block[(triton.cdiv(total, BLOCK),)](source, target, height, width, total, BLOCK=BLOCK)


@functools.lru_cache(maxsize=256)
def _matrix(source: int, target: int, sigma_px: float, device: torch.device) -> Tensor:
    return resampling(source, target, sigma_px).to(device, torch.float32)


def _resample(field_BHW: Tensor, rows: int, columns: int, sigma_px: float = 0.0) -> Tensor:
    _, height, width = field_BHW.shape
    down = _matrix(height, rows, sigma_px, field_BHW.device)
    return down @ field_BHW @ _matrix(width, columns, sigma_px, field_BHW.device).T


def _pyramid(frames_BHW: Tensor, sizes: list[tuple[int, int]], params: TVL1Params) -> list[Tensor]:
    sigma_px = params.presmooth * (1 / params.scale_step**2 - 1) ** 0.5
    levels = [frames_BHW]
    for size in sizes[1:]:
        levels.append(_resample(levels[-1], *size, sigma_px).contiguous())
    return levels
