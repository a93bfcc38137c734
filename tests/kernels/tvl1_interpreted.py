"""The Triton kernels of TV-L1 in Triton's interpreter: how far they are from the oracle.

tests/interpreted.py runs it.
"""

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


def main() -> dict[str, float]:
    torch.manual_seed(0)
    batch, height, width = 2, 37, 43
    state = torch.randn(6, batch, height, width)
    state[2:] *= 0.3
    for axis in (2, 4):
        state[axis, :, :, -1] = 0
        state[axis + 1, :, -1] = 0
    data = torch.randn(3, batch, height, width) * 20
    edge = torch.randint(0, 256, (batch, height, width), dtype=torch.uint8)
    report: dict[str, float] = {}
    for steps in (1, gpu.STEPS):
        result = torch.full_like(state, torch.nan)
        gpu.iterate(state, result, data, edge, PARAMS, steps)
        report[f"tile_{steps}"] = float((result - _steps(state, data, edge, steps)).abs().max())
    report["tile_too_few"] = float((result - _steps(state, data, edge, gpu.STEPS - 1)).abs().max())

    gpu.BLOCK = 2048  # fewer programs for the interpreter
    filtered = torch.empty(2, batch, height, width)
    for side_px in (3, 5):
        gpu.median(state[:2].contiguous(), filtered, side_px)
        truth = torch.stack([oracle.median(field, side_px) for field in state[:2]])
        report[f"median_{side_px}"] = float((filtered - truth).abs().max())

    scenes = [smooth_motion(kind, height=height, width=width) for kind in ("smooth", "zoom")]
    first, second = (torch.from_numpy(np.stack([scene[i] for scene in scenes])).float() for i in (0, 1))
    for name, five_point in (("five_point", True), ("central", False)):
        params = TVL1Params(five_point=five_point)
        flow = torch.zeros(6, batch, height, width)
        flow[:2] = 3 * torch.randn(2, batch, height, width)
        linear = torch.empty(3, batch, height, width)
        gpu.linearise(first, second, flow, linear, params)
        expected = torch.stack(oracle.linearise(first, second, (flow[0], flow[1]), params))
        report[f"linearise_{name}"] = float((linear - expected).abs().max())

    params = TVL1Params(levels=2, warps=1, median_rounds=1, iterations=6)
    second = 0.9 * second + 20  # a change of light
    whole = tvl1_flow(first, second, params=params, backend="triton")
    report["flow"] = float((whole - oracle.flow(first, second, params)).abs().quantile(0.99))
    return report
