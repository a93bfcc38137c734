"""Comparing features in tests."""

import numpy as np

from mscl.array_types import Floats


def least_cosine(a_ND: Floats, b_ND: Floats) -> float:
    """Of pairs of rows, both centred by the mean of the second: of what all videos share nothing is left."""
    centre_D = b_ND.mean(axis=0)
    unit = [(x_ND - centre_D) / np.linalg.norm(x_ND - centre_D, axis=1, keepdims=True) for x_ND in (a_ND, b_ND)]
    return float((unit[0] * unit[1]).sum(axis=1).min())
