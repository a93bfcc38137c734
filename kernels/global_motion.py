"""Camera motion: the affine motion that most of a flow field follows, and what moves beside it."""

import math

import numpy as np
from numpy.typing import NDArray

from kernels.arrays import flow_tensor

_POINTS = 1000
"""At most about so many pixels of a field, on a grid, decide its model."""
_ROUNDS = 8
_LEAST_SCALE_PX = 0.05
"""Deviations under it count fully: flow is no finer than that."""


def global_motion(flow_MHW2: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Mean magnitude of each field's affine motion, and of what is left without it: (M,) float32 each, px.

    The model `u, v = a + b x + c y` (pan, zoom, turn, shear) is fitted by least squares, reweighted with
    1 / (1 + (r / s)^2)^2 (Geman and McClure; s is the median deviation r), so that an object that covers less than half
    of the picture does not bend it.

    Raises:
        KernelInputError: an array that is no flow.
    """
    flow_MHW2 = np.asarray(flow_tensor(flow_MHW2, "flow_MHW2", ndim=4))
    num_fields, height, width, _ = flow_MHW2.shape
    step = max(1, math.ceil(math.sqrt(height * width / _POINTS)))
    rows, columns = np.linspace(-1, 1, height), np.linspace(-1, 1, width)
    # Three pixels decide an affine motion of nothing but themselves: a picture of one row or column has fewer.
    x_HW, y_HW = np.meshgrid(columns if width > 1 else [0.0], rows if height > 1 else [0.0])
    terms_HW3 = np.stack([np.ones_like(x_HW), x_HW, y_HW], axis=-1)
    terms_P3 = terms_HW3[::step, ::step].reshape(-1, 3)
    sample_MP2 = flow_MHW2[:, ::step, ::step].reshape(num_fields, len(terms_P3), 2).astype(np.float64)
    products_P9 = (terms_P3[:, :, None] * terms_P3[:, None]).reshape(-1, 9)
    ridge_33 = 1e-9 * len(terms_P3) * np.eye(3)
    weights_MP = np.ones(sample_MP2.shape[:2])
    model_M32 = np.zeros((num_fields, 3, 2))
    for _ in range(_ROUNDS):
        matrix_M33 = (weights_MP @ products_P9).reshape(-1, 3, 3) + ridge_33
        right_M32 = np.matmul(terms_P3.T, weights_MP[..., None] * sample_MP2)
        model_M32 = np.linalg.solve(matrix_M33, right_M32)
        apart_MP = np.linalg.norm(sample_MP2 - terms_P3 @ model_M32, axis=-1)
        scale_M1 = np.maximum(np.median(apart_MP, axis=1, keepdims=True), _LEAST_SCALE_PX)
        weights_MP = (1 + (apart_MP / scale_M1) ** 2) ** -2
    camera_M, beside_M = np.empty(num_fields, np.float32), np.empty(num_fields, np.float32)
    plain_N3 = terms_HW3.reshape(-1, 3).astype(np.float32)
    for field, (flow_HW2, model_32) in enumerate(zip(flow_MHW2, model_M32.astype(np.float32), strict=True)):
        global_N2 = plain_N3 @ model_32
        left_N2 = flow_HW2.reshape(-1, 2) - global_N2
        camera_M[field] = np.hypot(global_N2[:, 0], global_N2[:, 1]).mean()
        beside_M[field] = np.hypot(left_N2[:, 0], left_N2[:, 1]).mean()
    return camera_M, beside_M
