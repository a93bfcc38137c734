"""TV-L1 optical flow: one model, one oracle, a backend for every machine.

from kernels.tvl1 import PRESETS, tvl1_flow
flow_BHW2 = tvl1_flow(first_BHW, second_BHW, params=PRESETS["balanced"])
"""

from kernels.tvl1.api import Availability, backends, resolve_backend, tvl1_flow
from kernels.tvl1.params import PRESETS, TVL1Params

__all__ = ["PRESETS", "Availability", "TVL1Params", "backends", "resolve_backend", "tvl1_flow"]
