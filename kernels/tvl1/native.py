"""The compiled CPU backend: finds the library and calls it without the interpreter lock."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kernels.tvl1.params import TVL1Params

MISSING = "the C++ library was not built: install a C++ compiler, then run pip install again"


def library_path() -> Path | None:
    """The shared library beside this file, or None where no compiler was there at install time."""
    return None


def flow(
    first_BHW: NDArray[np.generic], second_BHW: NDArray[np.generic], params: TVL1Params, *, threads: int
) -> NDArray[np.float32]:
    raise NotImplementedError
