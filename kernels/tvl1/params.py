"""What a TV-L1 computation is made of, and four ways to spend time on it."""

import math
from dataclasses import dataclass

from kernels.errors import KernelInputError


@dataclass(frozen=True)
class TVL1Params:
    """Model and schedule of duality-based TV-L1 flow (Zach, Pock and Bischof 2007), in grey values of 0..255.

    Equal parameters give equal numbers on every backend but `opencv`, which knows OpenCV's terms only.
    """

    data_weight: float = 0.15
    """lambda: weight of |I1(x + u) - I0(x)| against the total variation of u."""
    theta: float = 0.2
    """Tightness of the coupling between the data step and the smoothing step."""
    tau: float = 0.25
    """Step of the dual ascent; .25 is safe, .35 diverges."""
    levels: int = 4
    """Pyramid levels at most; fewer where the shorter side would fall under 16 px."""
    scale_step: float = 0.5
    """Size of a level relative to the finer one."""
    warps: int = 4
    """Linearisations of I1 at every level."""
    median_rounds: int = 1
    """Rounds of (median, iterations) after each warp."""
    iterations: int = 25
    """Primal-dual iterations after each median."""
    median_px: int = 3
    """Side of the median window on u and v: 1 (none), 3 or 5."""
    epsilon: float = 0.0
    """Iterations of a warp end when the root mean square change of the flow falls under it, in px; 0 runs them all."""
    cubic_a: float = -0.75
    """Free parameter of the cubic convolution kernel used to warp (Keys 1981: -.5; OpenCV: -.75)."""

    def __post_init__(self) -> None:
        for name, low, high in (
            ("data_weight", 0.0, 1e3),
            ("theta", 1e-3, 1e2),
            ("tau", 1e-3, 0.25),
            ("levels", 1, 64),
            ("scale_step", 0.3, 0.95),
            ("warps", 1, 1000),
            ("median_rounds", 1, 1000),
            ("iterations", 0, 100_000),
            ("epsilon", 0.0, 10.0),
            ("cubic_a", -1.0, 0.0),
        ):
            value = getattr(self, name)
            if not (math.isfinite(value) and low <= value <= high):
                raise KernelInputError(f"TVL1Params.{name} is {value}, it must lie in [{low}, {high}]")
        if self.median_px not in (1, 3, 5):
            raise KernelInputError(f"TVL1Params.median_px is {self.median_px}, it must be 1 (no median), 3 or 5")


PRESETS: dict[str, TVL1Params] = {
    "opencv": TVL1Params(
        theta=0.3, levels=5, scale_step=0.8, warps=5, median_rounds=10, iterations=30, median_px=5, epsilon=0.01
    ),
    "accurate": TVL1Params(theta=0.3, levels=6, scale_step=0.7, warps=5, iterations=30),
    "balanced": TVL1Params(),
    "fast": TVL1Params(warps=3, iterations=20, cubic_a=-0.5),
}
