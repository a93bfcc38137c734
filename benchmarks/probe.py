"""The linear probe as we fit it, beside scikit-learn with all threads that it takes by itself.

Run: python -m benchmarks.probe [--threads 2]
Drawn features, the search over l2 and folds of a probe; both take turns. Prints wall-clock and CPU seconds and their
ratios: the size of the demo, and of HMDB51 with one candidate. On two cores of a busy Xeon scikit-learn by itself takes
2.2 to 3.2 times as long for the former and 5.1 for the latter.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial

import numpy as np
from threadpoolctl import threadpool_limits

from mscl.array_types import Floats, Ints
from mscl.devices import cores
from mscl.score import probe
from mscl.score.config import ProbeConfig

SIZES = {"demo": (1152, 64, 8, 5), "HMDB51": (3570, 512, 51, 1)}
"""Train items, features, classes, candidates of l2."""
ROUNDS = 3


def drawn(items: int, features: int, classes: int) -> tuple[Floats, Ints]:
    """Features around a middle of each class, and the classes."""
    draws = np.random.default_rng(0)
    label_N = np.arange(items) % classes
    middle_CD = 0.3 * draws.standard_normal((classes, features))
    return (middle_CD[label_N] + draws.standard_normal((items, features))).astype(np.float32), label_N


def timed(call: Callable[[], object]) -> tuple[float, float]:
    """Wall-clock and CPU seconds."""
    wall, cpu = time.perf_counter(), time.process_time()
    call()
    return time.perf_counter() - wall, time.process_time() - cpu


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=cores())
    threads = parser.parse_args().threads
    pays = probe._THREADS_PAY
    for name, (items, features, classes, candidates) in SIZES.items():
        train_ND, label_N = drawn(items, features, classes)
        config = ProbeConfig(l2=tuple(10.0**power for power in range(candidates)))

        fitted = partial(
            probe.linear_probe, train_ND, label_N, train_ND[:256], label_N[:256], num_classes=classes, config=config
        )
        spent: dict[str, list[tuple[float, float]]] = {"ours": [], "scikit-learn": []}
        for _ in range(ROUNDS):
            for whose in spent:
                probe._THREADS_PAY = pays if whose == "ours" else 0.0
                with threadpool_limits(threads):
                    spent[whose].append(timed(fitted))
        wall, cpu = (
            statistics.median(theirs[at] / ours[at] for ours, theirs in zip(*spent.values(), strict=True))
            for at in (0, 1)
        )
        seconds = statistics.median(one[0] for one in spent["ours"])
        print(f"{name:8} ours {seconds:6.2f} s; scikit-learn by itself {wall:.2f} times that, CPU {cpu:.2f} times")


if __name__ == "__main__":
    main()
