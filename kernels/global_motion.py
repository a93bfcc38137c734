"""Camera motion: the affine motion that most of a flow field follows, and what moves beside it."""

import math

import numpy as np
from numpy.typing import NDArray

from kernels.arrays import flow_tensor
from kernels.errors import KernelInputError

Floats = NDArray[np.float64]
_POINTS = 1000
"""At most about so many pixels of a field, on a grid, decide its model."""
_STARTS = 40
"""Motions of three pixels that are tried as a start; one in eight has all three outside of an object of half the
picture."""
_STARTS_POINTS = 250
"""At most about so many pixels say which start fits best."""
_LEAST_DETERMINANT = 0.2
"""Twice the area of the triangle of such pixels, in a picture of 2 x 2: what lies close together tells no turn."""
_ROUNDS = 5
_LEAST_SCALE_PX = 0.05
"""Deviations under it count fully: flow is no finer than that."""


def global_motion(flow_MHW2: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Mean magnitude of each field's affine motion, and of what is left without it: (M,) float32 each, px.

    The model `u, v = a + b x + c y` (pan, zoom, turn, shear) is fitted by least squares, reweighted with
    1 / (1 + (r / s)^2)^2 (Geman and McClure; s is the median deviation r), from the motion of three pixels that leaves
    the least median deviation: from the plain fit on, an object of two fifths of the picture would draw the model over
    to itself, and one that covers less than half of it is not to bend it.

    Raises:
        KernelInputError: an array that is no flow, NaN or infinite vectors.
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

    def fitted(weights_MP: Floats) -> Floats:
        matrix_M33 = (weights_MP @ products_P9).reshape(-1, 3, 3) + ridge_33
        return np.linalg.solve(matrix_M33, np.matmul(terms_P3.T, weights_MP[..., None] * sample_MP2))

    model_M32 = _best_start(fitted(np.ones(sample_MP2.shape[:2])), terms_P3, sample_MP2)
    for _ in range(_ROUNDS):
        apart_MP = _apart(model_M32, terms_P3, sample_MP2)
        scale_M1 = np.maximum(np.median(apart_MP, axis=1, keepdims=True), _LEAST_SCALE_PX)
        model_M32 = fitted((1 + (apart_MP / scale_M1) ** 2) ** -2)
    camera_M, beside_M = np.empty(num_fields, np.float32), np.empty(num_fields, np.float32)
    plain_N3 = terms_HW3.reshape(-1, 3).astype(np.float32)
    for field, (flow_HW2, model_32) in enumerate(zip(flow_MHW2, model_M32.astype(np.float32), strict=True)):
        global_N2 = plain_N3 @ model_32
        left_N2 = flow_HW2.reshape(-1, 2) - global_N2
        camera_M[field] = np.hypot(global_N2[:, 0], global_N2[:, 1]).mean()
        beside_M[field] = np.hypot(left_N2[:, 0], left_N2[:, 1]).mean()
    if not np.isfinite(beside_M).all():
        raise KernelInputError(
            f"flow_MHW2 of shape {flow_MHW2.shape} holds NaN or infinite vectors in field "
            f"{np.flatnonzero(~np.isfinite(beside_M))[0]}; leave those fields out or set the vectors to 0"
        )
    return camera_M, beside_M


def _best_start(plain_M32: Floats, terms_P3: Floats, sample_MP2: Floats) -> Floats:
    """Of each field the motion of three pixels, or the plain fit, that leaves the least median deviation."""
    drawn_S3 = np.random.default_rng(0).integers(0, len(terms_P3), (4 * _STARTS, 3))
    wide_S = np.abs(np.linalg.det(terms_P3[drawn_S3])) >= _LEAST_DETERMINANT
    every = -(-len(terms_P3) // _STARTS_POINTS)
    tested = (terms_P3[::every], sample_MP2[:, ::every])
    best_M32, least_M = plain_M32, np.median(_apart(plain_M32, *tested), axis=1)
    for three in drawn_S3[wide_S][:_STARTS]:
        model_M32 = np.linalg.solve(terms_P3[three], sample_MP2[:, three])
        apart_M = np.median(_apart(model_M32, *tested), axis=1)
        better_M = apart_M < least_M
        best_M32 = np.where(better_M[:, None, None], model_M32, best_M32)
        least_M = np.minimum(apart_M, least_M)
    return best_M32


def _apart(model_M32: Floats, terms_P3: Floats, sample_MP2: Floats) -> Floats:
    """(M, P): by how much the model misses each pixel, px."""
    apart_MP: Floats = np.linalg.norm(sample_MP2 - terms_P3 @ model_M32, axis=-1)
    return apart_MP
