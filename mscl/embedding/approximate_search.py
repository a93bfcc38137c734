"""Approximate nearest neighbours with FAISS, for galleries of millions (extra `faiss`).

The exact search looks at every gallery row for every query, 90 million rows of 512 a second and core. An inverted
file parts the gallery into cells and looks at the nearest of them.
"""

import math
from importlib.util import find_spec
from typing import TYPE_CHECKING

import numpy as np

from mscl.array_types import Floats, Ints
from mscl.errors import ConfigError

if TYPE_CHECKING:
    import faiss


_EXACT_UP_TO = 100_000
"""FAISS's flat index, which is exact, up to this gallery: lists gain nothing on smaller ones."""
_TRAIN_PER_LIST = 64


def refuse_without_faiss() -> None:
    """Say that FAISS is missing, before anything is computed for it.

    Raises:
        ConfigError: FAISS is not installed.
    """
    if find_spec("faiss") is None:
        raise ConfigError(
            "retrieve.index is faiss, and FAISS is not installed: pip install -e '.[faiss]', "
            "or take retrieve.index=exact"
        )


def is_approximate(gallery_size: int) -> bool:
    """Whether `nearest_by_faiss` looks at a part of a gallery of this size alone, if nothing else is asked for."""
    return gallery_size > _EXACT_UP_TO


def nearest_by_faiss(
    query_QD: Floats, gallery_GD: Floats, k: int, *, lists: int | None = None, probes: int | None = None
) -> tuple[Floats, Ints]:
    """About the k gallery rows with the largest inner product, best first.

    Args:
        query_QD: (Q, D) float32.
        gallery_GD: (G, D) float32; FAISS keeps a copy.
        k: at most G.
        lists: cells that the gallery is parted into; None: 4 sqrt(G), and none (exact) up to 100,000 rows.
        probes: cells that are looked at per query; None: an eighth of them, at least 8. All of them is exact.

    Returns:
        Similarities (Q, k) float32 and rows of the gallery (Q, k) int64. A query whose cells hold fewer than k rows
        looks at all cells.

    Raises:
        ConfigError: FAISS is not installed.
    """
    refuse_without_faiss()
    import faiss

    if not 1 <= k <= len(gallery_GD):
        raise ValueError(f"k = {k} must be between 1 and the gallery's size {len(gallery_GD)}")
    gallery = np.ascontiguousarray(gallery_GD, dtype=np.float32)
    query = np.ascontiguousarray(query_QD, dtype=np.float32)
    size, dim = gallery.shape
    if lists is None:
        lists = round(4 * math.sqrt(size)) if is_approximate(size) else 1
    flat = faiss.IndexFlatIP(dim)
    if lists <= 1:
        flat.add(gallery)
        return _searched(flat, query, k)
    index = faiss.IndexIVFFlat(flat, dim, lists, faiss.METRIC_INNER_PRODUCT)
    index.cp.max_points_per_centroid = _TRAIN_PER_LIST
    index.train(gallery)
    index.add(gallery)
    index.nprobe = min(lists, max(8, lists // 8) if probes is None else probes)
    similarity, rows = _searched(index, query, k)
    if len(short := np.flatnonzero((rows < 0).any(axis=1))):
        index.nprobe = lists
        similarity[short], rows[short] = _searched(index, query[short], k)
    return similarity, rows


def _searched(index: "faiss.Index", query_QD: Floats, k: int) -> tuple[Floats, Ints]:
    similarity, rows = index.search(query_QD, k)
    return np.asarray(similarity, dtype=np.float32), np.asarray(rows, dtype=np.int64)
