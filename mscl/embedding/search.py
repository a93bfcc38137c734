"""Exact nearest neighbours by inner product, in blocks: memory does not grow with query x gallery."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from mscl.array_types import Floats, Ints

if TYPE_CHECKING:
    from torch import Tensor


_BLOCK_QUERIES = 1024
_BLOCK_GALLERY = 8192
"""32 MB of products at a time."""
_BLOCK_BYTES = 128 << 20


def nearest(query_QD: Floats, gallery_GD: Floats, k: int) -> tuple[Floats, Ints]:
    """The k gallery rows with the largest inner product, exactly, best first; of equal ones the first rows.

    Args:
        query_QD: (Q, D) float32, finite; L2-normalised rows make the inner product the cosine.
        gallery_GD: (G, D) float32, finite, also a memory map.
        k: at most G.

    Returns:
        Similarities (Q, k) float32 and rows of the gallery (Q, k) int64.
    """
    if not 1 <= k <= len(gallery_GD):
        raise ValueError(f"k = {k} must be between 1 and the gallery's size {len(gallery_GD)}")
    count = min(k + 1, len(gallery_GD))
    value_QC, row_QC = _best(query_QD, gallery_GD, count, stable=False)
    if count > k:
        # `topk` takes any of equal products. Where they stand on both sides of the border, a sort decides.
        tied = np.flatnonzero(value_QC[:, k - 1] == value_QC[:, k])
        if len(tied):
            value_QC[tied], row_QC[tied] = _best(query_QD[tied], gallery_GD, count, stable=True)
    order_QK = np.lexsort((row_QC, -value_QC), axis=1)[:, :k]
    return np.take_along_axis(value_QC, order_QK, 1), np.take_along_axis(row_QC, order_QK, 1)


def _best(query_QD: Floats, gallery_GD: Floats, count: int, *, stable: bool) -> tuple[Floats, Ints]:
    """The `count` best products of each query and their rows; every part of the gallery is read once."""
    import torch

    value_QC = torch.full((len(query_QD), count), -torch.inf)
    row_QC = torch.zeros((len(query_QD), count), dtype=torch.int64)
    for start in range(0, len(gallery_GD), _BLOCK_GALLERY):
        part_DG = torch.tensor(gallery_GD[start : start + _BLOCK_GALLERY], dtype=torch.float32).T
        for first in range(0, len(query_QD), _BLOCK_QUERIES):
            some = slice(first, first + _BLOCK_QUERIES)
            value, row = _largest(torch.tensor(query_QD[some], dtype=torch.float32) @ part_DG, count, stable=stable)
            # The best so far come first: a stable sort keeps them before equal ones of later rows.
            value, row = torch.cat([value_QC[some], value], dim=1), torch.cat([row_QC[some], row + start], dim=1)
            value_QC[some], place = _largest(value, count, stable=stable)
            row_QC[some] = row.gather(1, place)
    return value_QC.numpy(), row_QC.numpy()


def _largest(value_QG: Tensor, count: int, *, stable: bool) -> tuple[Tensor, Tensor]:
    count = min(count, value_QG.shape[1])
    if stable:
        value, place = value_QG.sort(dim=1, descending=True, stable=True)
        return value[:, :count], place[:, :count]
    value, place = value_QG.topk(count, dim=1)
    return value, place


def similarity_blocks(query_QD: Floats, gallery_GD: Floats) -> Iterator[tuple[int, Floats]]:
    """(first query row, (block, G) inner products) over all queries, a block at a time of at most 128 MB."""
    block = max(1, _BLOCK_BYTES // (4 * max(1, len(gallery_GD))))
    for start in range(0, len(query_QD), block):
        yield start, query_QD[start : start + block] @ gallery_GD.T
