"""TV-L1 on CUDA through Triton: whole batches on one device.

Without `TVL1Params.epsilon` nothing waits for the device between the first and the last launch.
"""

import functools

import torch
import triton
from torch import Tensor

from kernels.tvl1 import oracle
from kernels.tvl1.gpu_iterate import iterate_strip
from kernels.tvl1.gpu_linearise import edges_block, light_block, linearise_block, relight_block
from kernels.tvl1.gpu_median import median3_block, median5_block
from kernels.tvl1.gpu_retreat import nearest_block, retreat_block, worse_block
from kernels.tvl1.params import TVL1Params, level_sizes
from kernels.tvl1.pyramid import resampling

COLUMNS = 64
"""Of a strip of `iterate`."""
BEFORE = 2
"""Columns of the first strip before the frame: p is 0 there, as the divergence at the frame's side wants it."""
STEPS = 7
"""Iterations of one launch at most; more spill registers."""
WARPS = 1024
"""Strips times chunks of rows that keep a GPU busy; more chunks only repeat more rows at their ends."""
LEAST_ROWS = 8
"""Of a chunk."""
MOST_PAIRS = 65535
"""At once: CUDA counts no further along the second and third axis of a grid."""
BLOCK = 256
"""Pixels of a program of the pointwise kernels."""


def flow(first_BHW: Tensor, second_BHW: Tensor, params: TVL1Params) -> Tensor:
    """Flow (B, H, W, 2) float32 in px of float32 grey frames 0..255 on one CUDA device.

    With `params.epsilon` every iteration is a launch of its own and each round asks the device whether a pair still
    moves: as slow as it is exact, and not for a CUDA graph.
    """
    batch, height, width = first_BHW.shape
    if batch == 0:
        return first_BHW.new_zeros(0, height, width, 2)
    if batch > MOST_PAIRS:
        parts = zip(first_BHW.split(MOST_PAIRS), second_BHW.split(MOST_PAIRS), strict=True)
        return torch.cat([flow(first, second, params) for first, second in parts])
    sizes = level_sizes(height, width, params)
    firsts, seconds = (_pyramid(frames.contiguous(), sizes, params) for frames in (first_BHW, second_BHW))
    u_2BHW, light_B2 = first_BHW.new_zeros(2, batch, *sizes[-1]), first_BHW.new_zeros(batch, 2)
    for first, second in zip(reversed(firsts), reversed(seconds), strict=True):
        if u_2BHW.shape[2:] != first.shape[1:]:
            gains = [first.shape[2] / u_2BHW.shape[3], first.shape[1] / u_2BHW.shape[2]]
            u_2BHW = torch.stack([_resample(u, *first.shape[1:]) * gain for u, gain in zip(u_2BHW, gains, strict=True)])
        u_2BHW = _solve_level(first, second, u_2BHW, light_B2, params)
        if params.retreat and first.shape != first_BHW.shape:
            retreat(first, second, u_2BHW, light_B2)
    if params.final_median_px > 1:
        finished = torch.empty_like(u_2BHW)
        median(u_2BHW, finished, params.final_median_px)
        u_2BHW = finished
    return u_2BHW.permute(1, 2, 3, 0).contiguous()


def _solve_level(first: Tensor, second: Tensor, u_2BHW: Tensor, light_B2: Tensor, params: TVL1Params) -> Tensor:
    """The flow (2, B, H, W) of one level, a view; moves `light_B2` on to its last fit."""
    state, other = first.new_zeros(6, *first.shape), first.new_empty(6, *first.shape)  # one is read, one written
    smoothed = torch.empty_like(u_2BHW)
    data = first.new_empty(3, *first.shape)
    edge = edge_steps(first, params)
    for _ in range(params.warps):
        linearise(first, second, u_2BHW, data, light_B2, params)
        if params.epsilon > 0:
            state[:2] = u_2BHW
            _until_still(state, other, data, edge, params)
            u_2BHW = state[:2]
            continue
        for _ in range(params.median_rounds):
            if params.median_px > 1:
                median(u_2BHW, smoothed, params.median_px)
                u_2BHW = smoothed
            for steps in _portions(params.iterations):
                iterate(u_2BHW, state, other, data, edge, params, steps)
                state, other = other, state
                u_2BHW = state[:2]
    return u_2BHW


def _until_still(state: Tensor, other: Tensor, data: Tensor, edge: Tensor, params: TVL1Params) -> None:
    """The rounds of one warp, in place; a pair stays as it is once an iteration moves its flow by less than epsilon."""
    moves_B = torch.ones(state.shape[1], dtype=torch.bool, device=state.device)
    for _ in range(params.median_rounds):
        if params.median_px > 1:
            median(state[:2], other[:2], params.median_px)
            state[:2] = torch.where(moves_B[:, None, None], other[:2], state[:2])
        for _ in range(params.iterations):
            iterate(state[:2], state, other, data, edge, params, 1)
            change_B = (other[:2] - state[:2]).square().mean((2, 3)).sum(0)
            state.copy_(torch.where(moves_B[:, None, None], other, state))
            moves_B = moves_B & (change_B > params.epsilon**2)
        if not moves_B.any():
            return


def _portions(iterations: int) -> list[int]:
    """Iterations of each launch: as few launches as there can be, as equal as they can be."""
    launches = -(-iterations // STEPS)
    return [iterations * (i + 1) // launches - iterations * i // launches for i in range(launches)]


def iterate(
    u_2BHW: Tensor, state: Tensor, state_out: Tensor, data: Tensor, edge: Tensor, params: TVL1Params, steps: int
) -> None:
    """`steps` iterations from a flow and the dual variable of a state (6, B, H, W) into another state."""
    _, batch, height, width = state.shape
    inner = COLUMNS - 2 * steps
    strips = 1 + max(0, triton.cdiv(width - (COLUMNS - BEFORE), inner))
    chunks = max(1, min(WARPS // (strips * batch), height // LEAST_ROWS))
    rows = triton.cdiv(height, chunks)
    iterate_strip[(strips, triton.cdiv(height, rows), batch)](
        u_2BHW,
        state,
        state_out,
        data,
        edge,
        height,
        width,
        batch * height * width,
        rows,
        params.data_weight * params.theta,
        params.theta,
        params.tau / params.theta,
        STEPS=steps,
        COLUMNS=COLUMNS,
        BEFORE=BEFORE,
        EDGE_STEPS=oracle.EDGE_STEPS,
        FLAT=oracle.FLAT,
        num_warps=1,
    )


def edge_steps(first_BHW: Tensor, params: TVL1Params) -> Tensor:
    """oracle.edge_steps as uint8."""
    height, width = first_BHW.shape[1:]
    edge = torch.empty_like(first_BHW, dtype=torch.uint8)
    edges_block[_grid(first_BHW)](
        first_BHW,
        edge,
        height,
        width,
        params.edge_sensitivity,
        *_derivative(params),
        EDGE_STEPS=oracle.EDGE_STEPS,
        BLOCK=BLOCK,
    )
    return edge


def linearise(
    first: Tensor, second: Tensor, u_2BHW: Tensor, data: Tensor, light_B2: Tensor, params: TVL1Params
) -> None:
    """Fill data (3, B, H, W) with oracle.linearise around a flow, less the change of light, which is fitted anew."""
    batch, height, width = first.shape
    blocks, _ = grid = _grid(first)
    sums = first.new_empty(5, batch, blocks)
    plane = batch * height * width
    linearise_block[grid](
        first,
        second,
        u_2BHW,
        data,
        light_B2,
        sums,
        height,
        width,
        plane,
        params.cubic_a,
        *_derivative(params),
        params.light_residual,
        BLOCK=BLOCK,
    )
    if params.light_residual > 0:
        light_block[(batch,)](sums, light_B2, height * width, blocks, BLOCK=BLOCK)
        relight_block[grid](first, light_B2, data[2], height * width, BLOCK=BLOCK)


def retreat(first: Tensor, second: Tensor, u_2BHW: Tensor, light_B2: Tensor) -> None:
    """oracle.retreat, in place."""
    batch, height, width = first.shape
    grid, plane = _grid(first), batch * height * width
    sampled = u_2BHW[:, :, ::2, ::2].flatten(2)
    middle_2B = sampled.kthvalue((sampled.shape[2] - 1) // 2 + 1, dim=2).values
    source, nearest, other = u_2BHW, torch.empty_like(u_2BHW), torch.empty_like(u_2BHW)
    for along_x in (True, False):
        for stride_px in oracle.RETREAT_STRIDES_PX:
            nearest_block[grid](
                source, nearest, middle_2B, height, width, plane, stride_px, ALONG_X=along_x, BLOCK=BLOCK
            )
            source, nearest, other = nearest, other, nearest
    nearest, worse = source, torch.empty_like(first)
    worse_block[grid](
        first,
        second,
        light_B2,
        u_2BHW,
        nearest,
        worse,
        height,
        width,
        plane,
        CAP=oracle.MISFIT_CAP,
        OUTSIDE=oracle.MISFIT_OUTSIDE,
        BLOCK=BLOCK,
    )
    retreat_block[grid](nearest, worse, u_2BHW, height, width, plane, AS_GOOD=oracle.AS_GOOD, BLOCK=BLOCK)


def median(source: Tensor, target: Tensor, side_px: int) -> None:
    """3 x 3 or 5 x 5 median of contiguous planes (..., H, W) into `target`."""
    height, width = source.shape[-2:]
    total = source.numel()
    block = median3_block if side_px == 3 else median5_block
    block[(triton.cdiv(total, BLOCK),)](source, target, height, width, total, BLOCK=BLOCK)


def _grid(frames_BHW: Tensor) -> tuple[int, int]:
    """Blocks of a frame, and pairs."""
    batch, height, width = frames_BHW.shape
    return triton.cdiv(height * width, BLOCK), batch


def _derivative(params: TVL1Params) -> tuple[float, float]:
    """Weights of the taps of a first derivative at distances 1 and 2."""
    return (8 / 12, -1 / 12) if params.five_point else (0.5, 0.0)


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
