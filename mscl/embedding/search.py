"""Exact nearest neighbours by inner product, in blocks: memory does not grow with query x gallery.

Products of blocks are BLAS; what is ours is to look at each of them once. A query keeps the value that its k-th
neighbour has so far, and the few products above it go into a small buffer, which is cut to the k best whenever it is
full. Every thread has queries of its own and multiplies alone: no thread waits for another one.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]

_BLOCK_QUERIES = 1024
_BLOCK_GALLERY = 512
"""1024 x 512 products are 2 MB: still in the cache when they are looked at, and large enough for BLAS."""
_BUFFER = 64
"""Places per query beyond the k best."""
_BLOCK_BYTES = 128 << 20
_LARGE = 5e10
"""Multiplications from which on a search takes seconds, and loading torch is worth it."""

Product = Callable[[Floats, Floats, Floats], object]
"""(query, gallery, out): out = query @ gallery.T."""


def nearest(query_QD: Floats, gallery_GD: Floats, k: int, *, threads: int = 0) -> tuple[Floats, Ints]:
    """The k gallery rows with the largest inner product, exactly, best first.

    Args:
        query_QD: (Q, D) float32, finite; L2-normalised rows make the inner product the cosine.
        gallery_GD: (G, D) float32, finite, also a memory map.
        k: at most G.
        threads: 0: as many as BLAS would use (OMP_NUM_THREADS, else one per core).

    Returns:
        Similarities (Q, k) float32 and rows of the gallery (Q, k) int64.
    """
    from threadpoolctl import ThreadpoolController

    if not 1 <= k <= len(gallery_GD):
        raise ValueError(f"k = {k} must be between 1 and the gallery's size {len(gallery_GD)}")
    similarity = np.empty((len(query_QD), k), np.float32)
    index = np.empty((len(query_QD), k), np.int64)

    blas = ThreadpoolController().select(user_api="blas")
    threads = threads or max((library["num_threads"] for library in blas.info()), default=1)
    blocks = _shares(len(query_QD), threads)
    large = len(blocks) > 1 and float(query_QD.size) * len(gallery_GD) > _LARGE
    with blas.limit(limits=1 if len(blocks) > 1 else threads), _workers(threads, large=large) as (pool, product):

        def search(rows: slice) -> None:
            similarity[rows], index[rows] = _nearest_of_block(query_QD[rows], gallery_GD, k, product)

        list(pool.map(search, blocks))
    return similarity, index


@contextmanager
def _workers(threads: int, *, large: bool) -> Iterator[tuple[ThreadPoolExecutor, Product]]:
    """Threads, and the faster of two BLAS for them: NumPy's (OpenBLAS), or on Intel, in a large search, torch's (MKL).

    MKL takes a tenth less time on Intel and an eighth more on AMD. The choice follows the machine and the sizes alone:
    the same search gives the same result.
    """
    if not (large and _is_intel()):
        with ThreadPoolExecutor(threads) as pool:
            yield pool, lambda query_QD, part_GD, out_QG: np.matmul(query_QD, part_GD.T, out=out_QG)
        return
    import torch

    before = torch.get_num_threads()
    try:
        # In every thread: MKL keeps the number for each, and each would start as many again.
        with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            yield (
                pool,
                lambda query_QD, part_GD, out_QG: torch.mm(
                    torch.from_numpy(query_QD), torch.from_numpy(part_GD).T, out=torch.from_numpy(out_QG)
                ),
            )
    finally:
        torch.set_num_threads(before)


@cache
def _is_intel() -> bool:
    """Whether Linux says so of the first core."""
    try:
        with Path("/proc/cpuinfo").open() as file:
            return any("GenuineIntel" in line for line in file if line.startswith("vendor_id"))
    except OSError:
        return False


def _shares(queries: int, threads: int) -> list[slice]:
    """Blocks of queries of equal size, as many for each thread."""
    rounds = -(-queries // (threads * _BLOCK_QUERIES))
    # Few queries: what counts is that the gallery is read once, not that every thread has some.
    count = threads * rounds if queries > _BLOCK_QUERIES // 4 else 1
    edges = np.linspace(0, queries, count + 1).astype(int).tolist()
    return [slice(start, end) for start, end in pairwise(edges) if end > start]


def _nearest_of_block(query_QD: Floats, gallery_GD: Floats, k: int, product: Product) -> tuple[Floats, Ints]:
    query = np.ascontiguousarray(query_QD, dtype=np.float32)
    best = _Best(len(query), k)
    columns = min(len(gallery_GD), max(_BLOCK_GALLERY, k))
    scores = np.empty(len(query) * columns, np.float32)
    above = np.empty(len(query) * columns, np.bool_)
    for offset in range(0, len(gallery_GD), columns):
        part = np.ascontiguousarray(gallery_GD[offset : offset + columns], dtype=np.float32)
        block_QG = scores[: len(query) * len(part)].reshape(len(query), len(part))
        product(query, part, block_QG)
        if offset == 0:
            best.start(block_QG)
        block_above = above[: block_QG.size].reshape(block_QG.shape)
        np.greater(block_QG, best.limit_Q[:, None], out=block_above)
        best.add(block_QG.ravel(), np.flatnonzero(block_above), offset, len(part))
    return best.sorted()


class _Best:
    """The best so far of Q queries: k places each, and a buffer behind them."""

    def __init__(self, queries: int, k: int) -> None:
        self._k = k
        self._values_QC = np.full((queries, k + _BUFFER), -np.inf, np.float32)
        self._rows_QC = np.zeros((queries, k + _BUFFER), np.int64)
        self._filled_Q = np.zeros(queries, np.int64)
        self.limit_Q = np.full(queries, -np.inf, np.float32)
        """A product that is not above it is no neighbour."""

    def start(self, block_QG: Floats) -> None:
        """A first limit: just below the k-th largest of the first columns."""
        kth_Q = np.partition(block_QG, -self._k, axis=1)[:, -self._k]
        self.limit_Q = np.nextafter(kth_Q, np.float32(-np.inf))

    def add(self, scores: Floats, places: Ints, offset: int, width: int) -> None:
        """Products at `places` of the flat (Q, width) block whose first column is gallery row `offset`."""
        query, column = np.divmod(places, width)
        values, rows = scores[places], column + offset
        while len(query):
            counts_Q = np.bincount(query, minlength=len(self._filled_Q))
            # `places` ascend, so those of one query stand together: their number within it.
            number = np.arange(len(query)) - (np.cumsum(counts_Q) - counts_Q)[query]
            slot = self._filled_Q[query] + number
            fits = slot < self._values_QC.shape[1]
            self._values_QC[query[fits], slot[fits]] = values[fits]
            self._rows_QC[query[fits], slot[fits]] = rows[fits]
            self._filled_Q = np.minimum(self._filled_Q + counts_Q, self._values_QC.shape[1])
            if fits.all():
                return
            self._cut()
            left = ~fits & (values > self.limit_Q[query])
            query, rows, values = query[left], rows[left], values[left]

    def sorted(self) -> tuple[Floats, Ints]:
        """Values and rows of the k best, best first."""
        self._cut()
        order = np.lexsort((self._rows_QC[:, : self._k], -self._values_QC[:, : self._k]), axis=1)
        return (
            np.take_along_axis(self._values_QC[:, : self._k], order, 1),
            np.take_along_axis(self._rows_QC[:, : self._k], order, 1),
        )

    def _cut(self) -> None:
        """Keep the k best of every query."""
        full_Q = self._filled_Q > self._k
        if not full_Q.any():
            return
        values, rows = self._values_QC[full_Q], self._rows_QC[full_Q]
        order = np.argpartition(values, -self._k, axis=1)[:, -self._k :]
        self._values_QC[full_Q] = -np.inf
        kept = np.take_along_axis(values, order, 1)
        self._values_QC[full_Q, : self._k] = kept
        self._rows_QC[full_Q, : self._k] = np.take_along_axis(rows, order, 1)
        self._filled_Q[full_Q] = self._k
        self.limit_Q[full_Q] = kept.min(axis=1)


def similarity_blocks(query_QD: Floats, gallery_GD: Floats) -> Iterator[tuple[int, Floats]]:
    """(first query row, (block, G) inner products) over all queries, a block at a time of at most 128 MB."""
    block = max(1, _BLOCK_BYTES // (4 * max(1, len(gallery_GD))))
    for start in range(0, len(query_QD), block):
        yield start, query_QD[start : start + block] @ gallery_GD.T
