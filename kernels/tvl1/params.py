"""What a TV-L1 computation is made of, and four ways to spend time on it."""

import math
from dataclasses import dataclass

from kernels.errors import KernelInputError

MIN_LEVEL_SIDE_PX = 16
"""No coarser level has a side under this."""


@dataclass(frozen=True)
class TVL1Params:
    """Model and schedule of duality-based TV-L1 flow (Zach, Pock and Bischof 2007), in grey values of 0..255.

    Equal parameters give equal numbers on the backends cpp, triton and torch, up to rounding. `opencv` knows OpenCV's
    terms only: there cubic_a, presmooth, five_point, edge_sensitivity, light_residual, final_median_px and retreat have
    no effect.
    """

    data_weight: float = 0.25
    """lambda: weight of |I1(x + u) - I0(x)| against the total variation of u."""
    theta: float = 0.3
    """Tightness of the coupling between the data step and the smoothing step."""
    tau: float = 0.25
    """Step of the dual ascent; .25 is safe, .35 diverges."""
    levels: int = 5
    """Pyramid levels at most; fewer where the shorter side would fall under 16 px."""
    scale_step: float = 0.5
    """Size of a level relative to the finer one."""
    presmooth: float = 0.3
    """Gaussian before each halving: sigma in units of sqrt(1 / scale_step**2 - 1) px; 0 for none."""
    warps: int = 3
    """Linearisations of I1 at every level."""
    median_rounds: int = 2
    """Rounds of (median, iterations) after each warp."""
    iterations: int = 19
    """Primal-dual iterations after each median."""
    median_px: int = 3
    """Side of the median window on u and v: 1 (none), 3 or 5."""
    epsilon: float = 0.0
    """Iterations of a warp end when the root mean square change of the flow falls under it, in px; 0 runs them all."""
    cubic_a: float = -0.65
    """Free parameter of the cubic convolution kernel used to warp (Keys 1981: -.5; OpenCV: -.75)."""
    five_point: bool = True
    """Image derivatives by five points, (1, -8, 0, 8, -1) / 12, rather than by central differences."""
    edge_sensitivity: float = 0.003
    """alpha of g = 1 / (1 + alpha |grad I0|), the weight of the total variation at image edges; 0 for g = 1."""
    light_residual: float = 3.0
    """The second frame may be lit otherwise: at every warp I1(x + u) - I0 is fitted by offset + gain I0, and the fit
    taken away. Pixels that miss the last fit by more than so many grey values count little; 0 fits nothing."""
    final_median_px: int = 5
    """Side of the median window on the finished u and v: 1 (none), 3 or 5."""
    retreat: bool = True
    """After every coarser level a pixel takes, of the flow nearby, that closest to the frame's dominant motion, where
    it fits as well: fast objects give back the plain surroundings that they took along."""

    def __post_init__(self) -> None:
        for name, low, high in (
            ("data_weight", 0.0, 1e3),
            ("theta", 1e-3, 1e2),
            ("tau", 1e-3, 0.25),
            ("levels", 1, 64),
            ("scale_step", 0.3, 0.95),
            ("presmooth", 0.0, 2.0),
            ("warps", 1, 1000),
            ("median_rounds", 1, 1000),
            ("iterations", 0, 100_000),
            ("epsilon", 0.0, 10.0),
            ("cubic_a", -1.0, 0.0),
            ("edge_sensitivity", 0.0, 10.0),
            ("light_residual", 0.0, 255.0),
        ):
            value = getattr(self, name)
            if not (math.isfinite(value) and low <= value <= high):
                raise KernelInputError(f"TVL1Params.{name} is {value}, it must lie in [{low}, {high}]")
        for name in ("median_px", "final_median_px"):
            if getattr(self, name) not in (1, 3, 5):
                raise KernelInputError(f"TVL1Params.{name} is {getattr(self, name)}, it must be 1 (no median), 3 or 5")


def level_sizes(height: int, width: int, params: TVL1Params) -> list[tuple[int, int]]:
    """(height, width) of every pyramid level, finest first; sides round half to even as in OpenCV."""
    sizes = [(height, width)]
    while len(sizes) < params.levels:
        coarser = (round(sizes[-1][0] * params.scale_step), round(sizes[-1][1] * params.scale_step))
        if min(coarser) < MIN_LEVEL_SIDE_PX:
            break
        sizes.append(coarser)
    return sizes


BALANCED = TVL1Params()

PRESETS: dict[str, TVL1Params] = {
    "opencv": TVL1Params(
        data_weight=0.15,
        theta=0.3,
        levels=5,
        scale_step=0.8,
        presmooth=0.0,
        warps=5,
        median_rounds=10,
        iterations=30,
        median_px=5,
        epsilon=0.01,
        cubic_a=-0.75,
        five_point=False,
        edge_sensitivity=0.0,
        light_residual=0.0,
        final_median_px=1,
        retreat=False,
    ),
    "accurate": TVL1Params(warps=5, iterations=20),
    "balanced": BALANCED,
    "fast": TVL1Params(warps=2, iterations=16),
}
"""docs/tvl1.md has the measured error and speed of each; benchmarks/tvl1.py measures them again."""
