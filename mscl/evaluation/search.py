"""Exact nearest neighbours by inner product, in blocks: memory does not grow with query x gallery."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]

_BLOCK_QUERIES = 1024
_BLOCK_GALLERY = 16_384
_BLOCK_BYTES = 128 << 20


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
    with torch.inference_mode():
        for start in range(0, len(query_QD), _BLOCK_QUERIES):
            query = torch.from_numpy(np.ascontiguousarray(query_QD[start : start + _BLOCK_QUERIES]))
            best: tuple[torch.Tensor, torch.Tensor] | None = None
            for offset in range(0, len(gallery_GD), _BLOCK_GALLERY):
                part = torch.from_numpy(np.ascontiguousarray(gallery_GD[offset : offset + _BLOCK_GALLERY]))
                values, rows = torch.topk(query @ part.T, min(k, len(part)), dim=1)
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


def similarity_blocks(query_QD: Floats, gallery_GD: Floats) -> Iterator[tuple[int, Floats]]:
    """(first query row, (block, G) inner products) over all queries, a block at a time of at most 128 MB."""
    block = max(1, _BLOCK_BYTES // (4 * max(1, len(gallery_GD))))
    for start in range(0, len(query_QD), block):
        yield start, query_QD[start : start + block] @ gallery_GD.T
