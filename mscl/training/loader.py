"""Loaders: which samples each step takes on each rank, loaded ahead by worker processes.

The order is a value, not a state: epoch e is the permutation drawn from (seed, e); step s takes the s-th global
batch of it; rank r takes the r-th contiguous part of that batch. Resuming is starting at another step.
"""

import signal
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Generic, Protocol, Self, TypeVar, cast

import cv2
import numpy as np
from torch.utils.data import DataLoader, Dataset, Sampler

from mscl.array_types import Ints
from mscl.errors import DataError
from mscl.orphans import GRACE_SECONDS, die_with_starter
from mscl.training.delivery import LOOK_SECONDS, Delivery, check_shared_memory
from mscl.training.epochs import steps_per_epoch
from mscl.training.fork_server import await_fork_server, start_fork_server
from mscl.training.socket_paths import short_socket_paths
from mscl.video.batch_memory import packed
from mscl.video.clip_indices import epoch_rng

BatchT = TypeVar("BatchT", covariant=True)
Request = tuple[int, Ints]
"""Epoch, and positions in the dataset, of one rank's share of a batch."""


class Source(Protocol[BatchT]):
    """What a loader needs of a dataset."""

    def __len__(self) -> int: ...

    def load(self, epoch: int, positions: Ints) -> BatchT:
        """The batch of these samples, the same in every process."""


class SeededSource(Source[BatchT], Protocol[BatchT]):
    """A dataset whose samples differ by epoch."""

    seed: int


@dataclass(frozen=True)
class StepPlan:
    """Requests of one rank for the global steps start_step .. total_steps - 1, over all their epochs.

    Raises:
        DataError: a batch that does not fit the dataset or the ranks, or steps out of order.
    """

    num_samples: int
    batch_size: int
    """Global: over all ranks."""
    seed: int
    start_step: int
    total_steps: int
    rank: int = 0
    world_size: int = 1

    def __post_init__(self) -> None:
        steps_per_epoch(self.num_samples, self.batch_size)
        if self.batch_size % self.world_size:
            raise DataError(
                f"batch_size {self.batch_size} is not divisible by {self.world_size} processes; change one of them"
            )
        if not 0 <= self.rank < self.world_size:
            raise DataError(f"rank {self.rank} is not one of {self.world_size} processes")
        if not 0 <= self.start_step <= self.total_steps:
            raise DataError(f"start_step {self.start_step} is not within 0 .. total_steps {self.total_steps}")

    def __len__(self) -> int:
        return self.total_steps - self.start_step

    def __iter__(self) -> Iterator[Request]:
        per_epoch = steps_per_epoch(self.num_samples, self.batch_size)
        share = self.batch_size // self.world_size
        epoch, order = -1, np.zeros(0, dtype=np.int64)
        for step in range(self.start_step, self.total_steps):
            if step // per_epoch != epoch:
                epoch = step // per_epoch
                order = epoch_rng(self.seed, epoch).permutation(self.num_samples)
            first = step % per_epoch * self.batch_size + self.rank * share
            yield epoch, order[first : first + share]


@dataclass(frozen=True)
class OncePlan:
    """Requests that together see every sample once, in order; ranks' shares are contiguous, last batches short."""

    num_samples: int
    batch_size: int
    """Samples of this rank per batch."""
    rank: int = 0
    world_size: int = 1

    def __len__(self) -> int:
        first, last = self._share()
        return -(-(last - first) // self.batch_size)

    def __iter__(self) -> Iterator[Request]:
        first, last = self._share()
        for start in range(first, last, self.batch_size):
            yield 0, np.arange(start, min(start + self.batch_size, last))

    def _share(self) -> tuple[int, int]:
        return (
            self.num_samples * self.rank // self.world_size,
            self.num_samples * (self.rank + 1) // self.world_size,
        )


class Loader(Generic[BatchT]):
    """Batches of a plan, in order, from worker processes that live as long as the loader.

    Use it as a context manager, or call `close`, to end the workers before the plan is through.
    """

    def __init__(
        self,
        source: Source[BatchT],
        plan: StepPlan | OncePlan,
        *,
        workers: int,
        pin_memory: bool,
        start_method: str | None,
    ) -> None:
        self._source, self._plan = source, plan
        self._running: Generator[BatchT, None, None] | None = None
        # forkserver, not fork: this process may hold threads (Prefect, an open server connection), and what fork copies
        # of them makes workers fail as they end.
        method = start_method or "forkserver"
        self._is_forked = bool(workers) and method == "forkserver"
        self._loader: DataLoader[Any] = DataLoader(
            _Requests(source),
            sampler=cast(Sampler[int], plan),
            batch_size=None,
            collate_fn=_unchanged,
            num_workers=workers,
            pin_memory=pin_memory,
            worker_init_fn=_start_worker,
            timeout=LOOK_SECONDS if workers else 0,
            prefetch_factor=2 if workers else None,
            multiprocessing_context=method if workers else None,
        )

    def __len__(self) -> int:
        return len(self._plan)

    def __iter__(self) -> Iterator[BatchT]:
        self.close()
        # Opened here, not at the first batch: PyTorch draws from its random numbers for it, once.
        if self._loader.num_workers:
            check_shared_memory(self._loader.num_workers)
        with short_socket_paths():
            if self._is_forked:
                _start_fork_server(self._source)
                await_fork_server()
            batches = iter(self._loader)
        self._running = self._batches(Delivery(batches) if self._loader.num_workers else batches)
        return self._running

    def _batches(self, batches: Iterator[Any]) -> Generator[BatchT, None, None]:
        try:
            for batch in batches:
                if isinstance(batch, _Failure):
                    raise DataError(batch.message)
                yield batch
        finally:
            # Ends the workers now, not when a traceback that holds this frame is forgotten.
            if isinstance(batches, Delivery):
                batches.close()

    def close(self) -> None:
        """End the workers, and with them the iteration."""
        if self._running is not None:
            self._running.close()
            self._running = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def prepare_workers(source: Source[Any], *, workers: int) -> None:
    """Let what forks the workers of a loader import, while the caller does what is to be done before it loads."""
    if workers:
        with short_socket_paths():
            _start_fork_server(source)


def _start_fork_server(source: Source[Any]) -> None:
    """It imports once what all workers need, which takes each of them longer than its first batch."""
    start_fork_server([__name__, type(source).__module__])


def make_loader(
    source: SeededSource[BatchT],
    *,
    batch_size: int,
    start_step: int,
    total_steps: int,
    rank: int = 0,
    world_size: int = 1,
    workers: int = 1,
    pin_memory: bool = False,
    start_method: str | None = None,
) -> Loader[BatchT]:
    """Training batches of this rank for the global steps start_step .. total_steps - 1, across epochs.

    `batch_size` is global; a batch holds batch_size / world_size samples. `workers=0` loads in this process.

    Raises:
        DataError: see `StepPlan`. While iterating: a segment cannot be read; names it, and the file.
    """
    plan = StepPlan(len(source), batch_size, source.seed, start_step, total_steps, rank, world_size)
    return Loader(source, plan, workers=workers, pin_memory=pin_memory, start_method=start_method)


def make_eval_loader(
    source: Source[BatchT],
    *,
    batch_size: int,
    rank: int = 0,
    world_size: int = 1,
    workers: int = 1,
    pin_memory: bool = False,
    start_method: str | None = None,
) -> Loader[BatchT]:
    """Every sample exactly once over all ranks, in order; `batch_size` samples of this rank at a time."""
    plan = OncePlan(len(source), batch_size, rank, world_size)
    return Loader(source, plan, workers=workers, pin_memory=pin_memory, start_method=start_method)


@dataclass(frozen=True)
class _Failure:
    """A user error on its way from a worker; as a value, so that the parent raises it without a worker's traceback."""

    message: str


class _Requests(Dataset[Any]):
    """Serves requests inside a worker."""

    def __init__(self, source: Source[Any]) -> None:
        self._source = source

    def __getitem__(self, request: Request) -> Any:
        epoch, positions = request
        try:
            return packed(self._source.load(epoch, positions))
        except DataError as error:
            return _Failure(str(error))


def _unchanged(batch: Any) -> Any:
    return batch


def _start_worker(_worker: int) -> None:
    # One thread per worker: OpenCV would start one per core in each.
    cv2.setNumThreads(0)
    die_with_starter()
    # Ctrl-C reaches the whole process group. The parent decides; workers end with it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "alarm"):
        # So does torchrun's SIGTERM, and a rank that is to stop still needs batches for its step.
        signal.signal(signal.SIGTERM, lambda _number, _frame: signal.alarm(int(GRACE_SECONDS)))
