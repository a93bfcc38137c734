"""The nearest segments of an indexed set, for videos of one's own."""

from dataclasses import dataclass
from operator import index as index_of
from typing import TYPE_CHECKING, SupportsIndex

import numpy as np
import numpy.typing as npt

from mscl.errors import DataError

if TYPE_CHECKING:
    from storage.features import Features


@dataclass(frozen=True)
class Neighbour:
    """A neighbour of a video in an indexed set."""

    segment_id: str
    label: int
    similarity: float
    """Cosine of the centred features."""
    row: int
    """Its row in the index, and in the usable manifest that was embedded."""


def search(features_QD: npt.NDArray[np.float32], index: "Features", *, k: int = 10) -> list[list[Neighbour]]:
    """The k nearest segments of an indexed set for each query, by cosine, exactly.

    Both sides are centred by the mean of the indexed set: a single query has no mean of its own.

    Args:
        features_QD: from `embed`, with the encoder and the settings that made the index.
        index: `storage.features.read_features` of a folder that the embed stage wrote.

    Raises:
        DataError: features of another encoder, of another form or not finite, or an empty index.
    """
    from mscl.embedding.search import nearest

    if isinstance(k, bool) or not isinstance(k, SupportsIndex) or index_of(k) < 1:
        raise DataError(f"k = {k!r}: give a whole number, 1 or more")
    features_QD = np.asarray(features_QD, dtype=np.float32)
    if features_QD.ndim != 2 or not np.isfinite(features_QD).all():
        raise DataError(
            f"features of shape {features_QD.shape} with {int((~np.isfinite(features_QD)).sum())} values that are not "
            "finite; give a row of finite numbers for each video, as `embed` does"
        )
    gallery_GD = index.features_ND
    if len(gallery_GD) == 0:
        raise DataError("the index is empty; run the embed stage on a dataset with usable videos")
    if features_QD.shape[1:] != gallery_GD.shape[1:]:
        raise DataError(
            f"the video has {features_QD.shape[-1]} features, the index {gallery_GD.shape[1]}; "
            "embed with the encoder that made the index"
        )
    centre_D = gallery_GD.mean(axis=0, dtype=np.float64).astype(np.float32)
    similarity, rows = nearest(_unit(features_QD - centre_D), _unit(gallery_GD - centre_D), min(k, len(gallery_GD)))

    def neighbour(row: int, cosine: float) -> Neighbour:
        return Neighbour(index.ids[row], int(index.labels_N[row]), cosine, row)

    return [list(map(neighbour, *pair)) for pair in zip(rows.tolist(), similarity.tolist(), strict=True)]


def _unit(features_ND: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    unit: npt.NDArray[np.float32] = features_ND / np.maximum(np.linalg.norm(features_ND, axis=1, keepdims=True), 1e-12)
    return unit
