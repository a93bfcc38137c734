"""Camera motion: the affine motion that most of a flow field follows, and what moves beside it."""

import functools
import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kernels.arrays import flow_tensor
from kernels.errors import KernelInputError

Floats = NDArray[np.float32]
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
_FIELDS_AT_ONCE = 64
_STARTS_AT_ONCE = 128
_PIXELS_AT_ONCE = 1 << 16
"""So many are worked on in the cache: fields in fits, starts of fields, pixels."""


class _Grid(NamedTuple):
    """What a model's terms 1, x, y are on a grid of `height` x `width` px, -1..1 from edge to edge."""

    step: int
    """Every so many rows and columns a pixel decides."""
    terms_P3: NDArray[np.float64]
    triples_S3: NDArray[np.int64]
    """Pixels that each start is of."""
    solved_S33: NDArray[np.float64]
    """Motions of three pixels to the model that they give."""


def global_motion(flow_MHW2: NDArray[np.float32]) -> tuple[Floats, Floats]:
    """Mean magnitude of each field's affine motion, and of what is left without it: (M,) float32 each, px.

    The model `u, v = a + b x + c y` (pan, zoom, turn, shear) is fitted by least squares, reweighted with
    1 / (1 + (r / s)^2)^2 (Geman and McClure; s is the median deviation r), from the motion of three pixels that leaves
    the least median deviation: from the plain fit on, an object of two fifths of the picture would draw the model over
    to itself, and one that covers less than half of it is not to bend it.

    Raises:
        KernelInputError: an array that is no flow, NaN or infinite vectors.
    """
    flow_MHW2 = np.ascontiguousarray(flow_tensor(flow_MHW2, "flow_MHW2", ndim=4).numpy(), np.float32)
    num_fields, height, width, _ = flow_MHW2.shape
    grid = _grid(height, width)
    model_M23 = np.empty((num_fields, 2, 3))
    for start in range(0, num_fields, _FIELDS_AT_ONCE):
        some = slice(start, start + _FIELDS_AT_ONCE)
        sample_2MP = np.moveaxis(flow_MHW2[some, :: grid.step, :: grid.step], -1, 0).reshape(2, -1, len(grid.terms_P3))
        model_M23[some] = np.moveaxis(_fitted(np.ascontiguousarray(sample_2MP), grid), 0, 1)
    camera_M, beside_M = _parted(flow_MHW2, model_M23)
    if not np.isfinite(beside_M).all():
        raise KernelInputError(
            f"flow_MHW2 of shape {flow_MHW2.shape} holds NaN or infinite vectors in field "
            f"{np.flatnonzero(~np.isfinite(beside_M))[0]}; leave those fields out or set the vectors to 0"
        )
    return camera_M, beside_M


@functools.lru_cache(maxsize=8)
def _grid(height: int, width: int) -> _Grid:
    step = max(1, math.ceil(math.sqrt(height * width / _POINTS)))
    x_W, y_H = _places(width)[::step], _places(height)[::step]
    y_HW, x_HW = np.meshgrid(y_H, x_W, indexing="ij")
    terms_P3 = np.stack([np.ones_like(x_HW), x_HW, y_HW], axis=-1).reshape(-1, 3)
    drawn_S3 = np.random.default_rng(0).integers(0, len(terms_P3), (4 * _STARTS, 3))
    triples_S3 = drawn_S3[np.abs(np.linalg.det(terms_P3[drawn_S3])) >= _LEAST_DETERMINANT][:_STARTS]
    return _Grid(step, terms_P3, triples_S3, np.linalg.inv(terms_P3[triples_S3]))


def _places(length: int) -> NDArray[np.float64]:
    # Three pixels decide an affine motion of nothing but themselves: a picture of one row or column has fewer.
    return np.linspace(-1, 1, length) if length > 1 else np.zeros(1)


def _fitted(sample_2MP: Floats, grid: _Grid) -> NDArray[np.float64]:
    """The models of fields, (2, M, 3): of u and v the factors of 1, x, y."""
    terms_P3 = grid.terms_P3.astype(np.float32)
    products_P9 = (terms_P3[:, :, None] * terms_P3[:, None]).reshape(-1, 9)
    ridge_33 = 1e-9 * len(terms_P3) * np.eye(3)

    def correction(weights_MP: Floats, left_2MP: Floats) -> NDArray[np.float64]:
        """Least squares of what is left, which is small: so float32 does."""
        matrix_M33 = (weights_MP @ products_P9).reshape(-1, 3, 3) + ridge_33
        left_2M3 = (weights_MP * left_2MP) @ terms_P3
        solved_2M31 = np.linalg.solve(matrix_M33, left_2M3[..., None])
        return np.asarray(solved_2M31[..., 0], np.float64)

    plain_2M3 = correction(np.ones_like(sample_2MP[0]), sample_2MP)
    model_2M3 = _best_start(plain_2M3, sample_2MP, grid)
    for _ in range(_ROUNDS):
        left_2MP = sample_2MP - model_2M3.astype(np.float32) @ terms_P3.T
        squared_MP = _squared(left_2MP)
        parted_MP = np.partition(squared_MP, squared_MP.shape[1] // 2, axis=1)
        scale_M1 = np.maximum(_root_of_median(parted_MP), _LEAST_SCALE_PX)[:, None]
        squared_MP *= scale_M1**-2
        squared_MP += 1
        squared_MP *= squared_MP
        model_2M3 = model_2M3 + correction(np.reciprocal(squared_MP, out=squared_MP), left_2MP)
    return model_2M3


def _best_start(plain_2M3: NDArray[np.float64], sample_2MP: Floats, grid: _Grid) -> NDArray[np.float64]:
    """Of each field the motion of three pixels, or the plain fit, that leaves the least median deviation."""
    every = -(-len(grid.terms_P3) // _STARTS_POINTS)
    tested_2MQ = np.ascontiguousarray(sample_2MP[..., ::every])
    terms_3Q = grid.terms_P3[::every].T.astype(np.float32)
    num_fields, count = sample_2MP.shape[1], len(grid.triples_S3) + 1
    starts_2SM3 = np.empty((2, count, num_fields, 3))
    starts_2SM3[:, 0] = plain_2M3
    starts_2SM3[:, 1:] = np.swapaxes(sample_2MP[..., grid.triples_S3], 1, 2) @ np.swapaxes(grid.solved_S33, 1, 2)
    median_SM = np.empty((count, num_fields), np.float32)
    at_once = max(1, _STARTS_AT_ONCE // num_fields)
    for first in range(0, count, at_once):
        some_2NM3 = starts_2SM3[:, first : first + at_once].astype(np.float32)
        left_2NMQ = (some_2NM3.reshape(2, -1, 3) @ terms_3Q).reshape(*some_2NM3.shape[:3], -1)
        left_2NMQ -= tested_2MQ[:, None]
        squared_NMQ = _squared(left_2NMQ, out=left_2NMQ)
        squared_NMQ.sort(axis=-1)  # of so short rows faster than a partition
        median_SM[first : first + at_once] = _root_of_median(squared_NMQ)
    best_M = np.where(np.isnan(median_SM), np.inf, median_SM).argmin(axis=0)
    return starts_2SM3[:, best_M, np.arange(num_fields)]


def _squared(vectors_2MP: Floats, out: Floats | None = None) -> Floats:
    squared_2MP = np.multiply(vectors_2MP, vectors_2MP, out=out)
    squared_MP: Floats = np.add(squared_2MP[0], squared_2MP[1], out=squared_2MP[0])
    return squared_MP


def _root_of_median(parted_MP: Floats) -> Floats:
    """Median of the roots of rows of which each half is on its side: so there are fewer roots to draw."""
    middle = parted_MP.shape[-1] // 2
    above_M: Floats = np.sqrt(parted_MP[..., middle])
    if parted_MP.shape[-1] % 2:
        return above_M
    above_M += np.sqrt(parted_MP[..., :middle].max(axis=-1))
    return above_M / np.float32(2)


def _parted(flow_MHW2: Floats, model_M23: NDArray[np.float64]) -> tuple[Floats, Floats]:
    """Mean magnitudes of the models' motion and of what the fields have beside it, (M,) each."""
    num_fields, height, width, _ = flow_MHW2.shape
    x_W, y_H = _places(width), _places(height)
    factors_M2W2 = np.empty((num_fields, 2, width, 2), np.float32)  # motion = first + y * second
    factors_M2W2[:, 0] = model_M23[:, None, :, 0] + x_W[:, None] * model_M23[:, None, :, 1]
    factors_M2W2[:, 1] = model_M23[:, None, :, 2]
    factors_M2V = factors_M2W2.reshape(num_fields, 2, 2 * width)
    ones_y_H2 = np.stack([np.ones_like(y_H), y_H], axis=-1).astype(np.float32)
    flow_MHV = flow_MHW2.reshape(num_fields, height, 2 * width)
    camera_M, beside_M = np.empty(num_fields, np.float32), np.empty(num_fields, np.float32)
    at_once = max(1, _PIXELS_AT_ONCE // (height * width))
    scratch_MHV = np.empty((min(at_once, num_fields), height, 2 * width), np.float32)
    for start in range(0, num_fields, at_once):
        some = slice(start, start + at_once)
        motion_MHV = scratch_MHV[: num_fields - start]
        np.matmul(ones_y_H2, factors_M2V[some], out=motion_MHV)
        camera_M[some] = _mean_length(motion_MHV)
        beside_M[some] = _mean_length(np.subtract(flow_MHV[some], motion_MHV, out=motion_MHV))
    return camera_M, beside_M


def _mean_length(vectors_MHV: Floats) -> NDArray[np.float64]:
    length_MHW = np.abs(vectors_MHV.view(np.complex64))
    sums_MH = length_MHW @ np.ones(length_MHW.shape[2], np.float32)  # half the time of `mean`, as exact a row at a time
    means_M: NDArray[np.float64] = sums_MH.mean(axis=1, dtype=np.float64) / length_MHW.shape[2]
    return means_M
