"""Exact nearest neighbours by inner product, in blocks: memory does not grow with query x gallery."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from torch import Tensor

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]

_BLOCK_QUERIES = 512
_BLOCK_GALLERY = 32_768
_BLOCK_BYTES = 128 << 20
_GROUP = 16


def nearest(query_QD: Floats, gallery_GD: Floats, k: int) -> tuple[Floats, Ints]:
    """The k gallery rows with the largest inner product, exactly, best first.

    Args:
        query_QD: (Q, D) float32; L2-normalised rows make the inner product the cosine.
        gallery_GD: (G, D) float32, also a memory map.
        k: at most G.

    Returns:
        Similarities (Q, k) float32 and rows of the gallery (Q, k) int64.
    """
    import torch

    if not 1 <= k <= len(gallery_GD):
        raise ValueError(f"k = {k} must be between 1 and the gallery's size {len(gallery_GD)}")
    similarity = np.empty((len(query_QD), k), np.float32)
    index = np.empty((len(query_QD), k), np.int64)
    rows_at_once, columns_at_once = min(_BLOCK_QUERIES, len(query_QD)), min(_BLOCK_GALLERY, len(gallery_GD))
    scores = np.empty(rows_at_once * columns_at_once, np.float32)
    with torch.inference_mode():
        for start in range(0, len(query_QD), _BLOCK_QUERIES):
            query = np.ascontiguousarray(query_QD[start : start + _BLOCK_QUERIES], dtype=np.float32)
            best: tuple[torch.Tensor, torch.Tensor] | None = None
            for offset in range(0, len(gallery_GD), _BLOCK_GALLERY):
                part = np.ascontiguousarray(gallery_GD[offset : offset + _BLOCK_GALLERY], dtype=np.float32)
                # NumPy's product (OpenBLAS) is an eighth faster than torch's (MKL) on AMD, and as fast elsewhere.
                block_QG = scores[: len(query) * len(part)].reshape(len(query), len(part))
                np.matmul(query, part.T, out=block_QG)
                values, rows = _largest(torch.from_numpy(block_QG), min(k, len(part)))
                rows += offset
                if best is not None:
                    values, rows = torch.cat([best[0], values], 1), torch.cat([best[1], rows], 1)
                    values, order = torch.topk(values, min(k, values.shape[1]), dim=1)
                    rows = rows.gather(1, order)
                best = values, rows
            assert best is not None
            similarity[start : start + len(query)] = best[0].numpy()
            index[start : start + len(query)] = best[1].numpy()
    return similarity, index


def _largest(scores_QG: "Tensor", k: int) -> tuple["Tensor", "Tensor"]:
    """The k largest of each row with their columns, sorted.

    Columns are dealt into groups; the k largest lie in the k groups with the largest maxima, so sorting
    looks at those alone. Taking maxima runs at the speed of memory, `topk` ten times slower.
    """
    import torch

    total = scores_QG.shape[1]
    groups = total // _GROUP
    if groups < 4 * k:
        return torch.topk(scores_QG, k, dim=1)
    # Group g holds the columns g, g + groups, g + 2 * groups, ...; what does not divide stays as it is.
    members_QMG = scores_QG[:, : groups * _GROUP].unflatten(1, (_GROUP, groups))
    best_QK = torch.topk(members_QMG.amax(dim=1), k, dim=1, sorted=False).indices
    deal_M1 = torch.arange(_GROUP)[:, None] * groups
    columns_QC = (best_QK[:, None, :] + deal_M1).flatten(1)
    rest = torch.arange(groups * _GROUP, total).expand(len(scores_QG), -1)
    columns_QC = torch.cat([columns_QC, rest], dim=1)
    values, place = torch.topk(scores_QG.gather(1, columns_QC), k, dim=1)
    return values, columns_QC.gather(1, place)


def similarity_blocks(query_QD: Floats, gallery_GD: Floats) -> Iterator[tuple[int, Floats]]:
    """(first query row, (block, G) inner products) over all queries, a block at a time of at most 128 MB."""
    block = max(1, _BLOCK_BYTES // (4 * max(1, len(gallery_GD))))
    for start in range(0, len(query_QD), block):
        yield start, query_QD[start : start + block] @ gallery_GD.T
