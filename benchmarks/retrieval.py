"""Exact neighbours of many queries: `mscl.embedding.search.nearest` beside faiss-cpu's flat index.

Run: python -m benchmarks.retrieval [--queries 10000] [--gallery 100000] [--dim 512] [--k 50] [--threads 2]
FAISS is an extra: `pip install -e '.[faiss]'` first. Both get the same threads and take turns. Prints wall-clock
and CPU seconds, their ratios, the memory that our search adds, and whether both found the same. On one core of an AMD
EPYC ours takes 1.9 times the CPU seconds of FAISS for 3,000 queries, 50,000 rows, 512 channels and k 50; 1.4 times for
1,000 queries of 9,000 rows and k 20; a sixth for 100 queries. On a machine that does other things, too, look at the CPU
seconds of one thread: FAISS's threads spin while they wait for one another.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from mscl.array_types import Floats, Ints
from mscl.devices import cores
from mscl.embedding.search import nearest


def timed(call: Callable[[], tuple[Floats, Ints]]) -> tuple[float, float, tuple[Floats, Ints]]:
    """Wall-clock and CPU seconds, and the result."""
    wall, cpu = time.perf_counter(), time.process_time()
    result = call()
    return time.perf_counter() - wall, time.process_time() - cpu, result


def peak_mb() -> float:
    """Largest resident size of this process since `forget_peak` (Linux)."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def forget_peak() -> float:
    """Start to measure the peak anew; returns the resident size now."""
    Path("/proc/self/clear_refs").write_text("5")
    return peak_mb()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--queries", type=int, default=10_000)
    parser.add_argument("--gallery", type=int, default=100_000)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--k", type=int, default=50)
    parser.add_argument("--threads", type=int, default=cores())
    parser.add_argument("--runs", type=int, default=2)
    arguments = parser.parse_args()
    import faiss

    faiss.omp_set_num_threads(arguments.threads)
    torch.set_num_threads(arguments.threads)
    draws = np.random.default_rng(0)
    query = draws.standard_normal((arguments.queries, arguments.dim), dtype=np.float32)
    gallery = draws.standard_normal((arguments.gallery, arguments.dim), dtype=np.float32)
    for features in (query, gallery):
        features /= np.linalg.norm(features, axis=1, keepdims=True)

    def search() -> tuple[Floats, Ints]:
        return nearest(query, gallery, arguments.k)

    before = forget_peak()
    similarity, index = search()
    memory = f"{peak_mb() - before:.0f} MB added, {peak_mb():.0f} MB in all"
    flat = faiss.IndexFlatIP(arguments.dim)
    flat.add(gallery)
    their_similarity, their_index = flat.search(query, arguments.k)
    ours, theirs = [], []
    for _ in range(arguments.runs):
        ours.append(timed(search)[:2])
        theirs.append(timed(lambda: flat.search(query, arguments.k))[:2])
    wall, cpu = (min(column) for column in zip(*ours, strict=True))
    their_wall, their_cpu = (min(column) for column in zip(*theirs, strict=True))
    print(f"ours   {wall:8.2f} s   {cpu:8.2f} CPU s   {arguments.threads} threads, {memory}")
    print(f"faiss  {their_wall:8.2f} s   {their_cpu:8.2f} CPU s   {arguments.threads} threads")
    print(f"ratio  {their_wall / wall:8.2f}     {their_cpu / cpu:8.2f}         (above 1: ours is faster)")
    apart = float(np.abs(similarity - their_similarity).max())
    print(f"same neighbours {float((index == their_index).mean()):.4%}, similarities at most {apart:.1e} apart")


if __name__ == "__main__":
    main()
