"""Types of arrays, for annotations; names say the shape (`features_ND`)."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Ints = NDArray[np.int64]
AnyFloats = NDArray[np.floating[Any]]
AnyInts = NDArray[np.integer[Any]]
