"""The Triton kernels of TV-L1 in Triton's interpreter: how far they are from the oracle.

tests/interpreted.py runs it.
"""

import dataclasses

import numpy as np
import torch
from torch import Tensor

from benchmarks.tvl1_scenes import smooth_motion
from kernels.tvl1 import TVL1Params, gpu, oracle, tvl1_flow

PARAMS = TVL1Params()


def _planes(state: oracle.State) -> Tensor:
    return torch.stack([*state.u, *state.p[0], *state.p[1]])


def _steps(state_6BHW: Tensor, data_3BHW: Tensor, edge_BHW: Tensor, steps: int) -> Tensor:
    u, v, p11, p12, p21, p22 = state_6BHW
    state = oracle.State((u, v), ((p11, p12), (p21, p22)))
    for _ in range(steps):
        state = oracle.step(state, oracle.Linearisation(*data_3BHW), edge_BHW.float(), PARAMS)
    return _planes(state)


def _iterations(report: dict[str, float]) -> None:
    """Two strips, chunks within the frame, a pair whose neighbour in memory is another."""
    gpu.LEAST_ROWS = 5
    batch, height, width = 2, 11, 67
    state = torch.randn(6, batch, height, width)
    state[2:] *= 0.3
    for axis in (2, 4):
        state[axis, :, :, -1] = 0
        state[axis + 1, :, -1] = 0
    data = torch.randn(3, batch, height, width) * 20
    edge = torch.randint(0, 256, (batch, height, width), dtype=torch.uint8)
    for steps in (1, 2):
        result = torch.full_like(state, torch.nan)
        gpu.iterate(state[:2], state, result, data, edge, PARAMS, steps)
        report[f"strips_{steps}"] = float((result - _steps(state, data, edge, steps)).abs().max())
    report["strips_too_few"] = float((result - _steps(state, data, edge, 1)).abs().max())


def _medians(report: dict[str, float]) -> None:
    planes = torch.randn(2, 2, 37, 43)
    filtered = torch.empty_like(planes)
    for side_px in (3, 5):
        gpu.median(planes, filtered, side_px)
        truth = torch.stack([oracle.median(field, side_px) for field in planes])
        report[f"median_{side_px}"] = float((filtered - truth).abs().max())


def _linearisations(report: dict[str, float], first: Tensor, second: Tensor) -> None:
    flow = 3 * torch.randn(2, *first.shape)
    for name, five_point in (("five_point", True), ("central", False)):
        params = TVL1Params(five_point=five_point)
        linear, light_B2 = torch.empty(3, *first.shape), torch.tensor([[3.0, -1.0], [-2.0, 0.5]])
        light = oracle.Light(light_B2[:, :1, None].clone(), light_B2[:, 1:, None].clone())
        gpu.linearise(first, second, flow, linear, light_B2, params)
        u = (flow[0], flow[1])
        expected, light = oracle.relight(first, u, oracle.linearise(first, second, u, params), light, params)
        report[f"linearise_{name}"] = float((linear - torch.stack(expected)).abs().max())
        report[f"light_{name}"] = float((light_B2 - torch.stack(light)[:, :, 0, 0].T).abs().max())
    report["edges"] = float((gpu.edge_steps(first, PARAMS) - oracle.edge_steps(first, PARAMS)).abs().max())


def _retreats(report: dict[str, float], first: Tensor, second: Tensor) -> None:
    flow = torch.nn.functional.interpolate(4 * torch.randn(2, 2, 5, 6), first.shape[1:], mode="bicubic")
    light = torch.tensor([[1.0, 0.1], [0.0, 0.0]])
    u = (flow[0].clone(), flow[1].clone())
    gpu.retreat(first, second, flow, light)
    expected = torch.stack(oracle.retreat(first, second, u, oracle.Light(light[:, :1, None], light[:, 1:, None])))
    report["retreat_moves"] = float((expected - torch.stack(u)).abs().gt(0.1).float().mean())
    report["retreat"] = float((flow - expected).abs().gt(1e-4).float().mean())  # of some pixels rounding decides


def _until_still(report: dict[str, float], first: Tensor, second: Tensor) -> None:
    """One pair ends in the middle, the other does not: each as if it were alone."""
    first, second = first.contiguous(), second.contiguous()
    params = TVL1Params(levels=1, warps=1, median_rounds=2, iterations=2, epsilon=0.2, light_residual=0)
    whole = tvl1_flow(first, second, params=params, backend="triton")
    report["until_still"] = float((whole - oracle.flow(first, second, params)).abs().max())
    never = dataclasses.replace(params, epsilon=0.0)
    gpu.MOST_PAIRS = 1
    in_parts = tvl1_flow(first, second, params=params, backend="triton")
    report["in_parts"] = float((whole - in_parts).abs().max())
    report["never_still"] = float((whole - oracle.flow(first, second, never)).abs().max())


def main() -> dict[str, float]:
    torch.manual_seed(0)
    report: dict[str, float] = {}
    _iterations(report)
    gpu.BLOCK = 2048  # fewer programs for the interpreter
    _medians(report)
    scenes = [smooth_motion(kind, height=37, width=43) for kind in ("smooth", "zoom")]
    first, second = (torch.from_numpy(np.stack([scene[i] for scene in scenes])).float() for i in (0, 1))
    second = 0.9 * second + 20  # a change of light
    _linearisations(report, first, second)
    _retreats(report, first, second)
    first, second = first[:, :24, :28].contiguous(), second[:, :24, :28].contiguous()
    params = TVL1Params(levels=2, warps=1, median_rounds=1, iterations=3)
    whole = tvl1_flow(first[:1], second[:1], params=params, backend="triton")
    report["flow"] = float((whole - oracle.flow(first[:1], second[:1], params)).abs().quantile(0.99))
    _until_still(report, first[:, :8, :12], second[:, :8, :12])
    return report
