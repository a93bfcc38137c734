"""Exact neighbours of many queries: `mscl.evaluation.search.nearest` beside faiss-cpu's flat index.

Run: python -m benchmarks.retrieval [--queries 10000] [--gallery 100000] [--dim 512] [--k 50]
faiss is not a dependency: `pip install faiss-cpu` first. Prints seconds, their ratio, the memory that our
search adds, and whether both found the same.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from mscl.evaluation.search import Floats, Ints, nearest


def best_of(runs: int, call: Callable[[], tuple[Floats, Ints]]) -> tuple[float, tuple[Floats, Ints]]:
    """Fastest of several runs in seconds, and the result."""
    seconds = []
    result = call()
    for _ in range(runs):
        started = time.perf_counter()
        result = call()
        seconds.append(time.perf_counter() - started)
    return min(seconds), result


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
    parser.add_argument("--threads", type=int, default=0, help="0: as the libraries choose")
    parser.add_argument("--runs", type=int, default=2)
    arguments = parser.parse_args()
    import torch

    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    draws = np.random.default_rng(0)
    query = draws.standard_normal((arguments.queries, arguments.dim), dtype=np.float32)
    gallery = draws.standard_normal((arguments.gallery, arguments.dim), dtype=np.float32)
    for features in (query, gallery):
        features /= np.linalg.norm(features, axis=1, keepdims=True)
    before = forget_peak()
    ours, (similarity, index) = best_of(arguments.runs, lambda: nearest(query, gallery, arguments.k))
    memory = f"{peak_mb() - before:.0f} MB added, {peak_mb():.0f} MB in all"
    print(f"ours   {ours:8.2f} s   {torch.get_num_threads()} threads, {memory}")
    import faiss

    if arguments.threads:
        faiss.omp_set_num_threads(arguments.threads)
    flat = faiss.IndexFlatIP(arguments.dim)
    flat.add(gallery)
    theirs, (their_similarity, their_index) = best_of(arguments.runs, lambda: flat.search(query, arguments.k))
    print(f"faiss  {theirs:8.2f} s   {faiss.omp_get_max_threads()} threads")
    print(f"ratio  {theirs / ours:8.2f}   (above 1: ours is faster)")
    apart = float(np.abs(similarity - their_similarity).max())
    print(f"same neighbours {float((index == their_index).mean()):.4%}, similarities at most {apart:.1e} apart")


if __name__ == "__main__":
    main()
