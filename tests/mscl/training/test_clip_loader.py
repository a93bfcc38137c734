"""Order of samples, ranks, resuming, workers, failures."""

import multiprocessing
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mscl.array_types import Ints
from mscl.errors import DataError
from mscl.training.epochs import steps_per_epoch
from mscl.training.loader import OncePlan, StepPlan, make_eval_loader, make_loader
from mscl.views import RawBatch
from tests.mscl.marked_stores import Stores


def batches_equal(first: list[RawBatch], second: list[RawBatch]) -> bool:
    return len(first) == len(second) and all(
        (x is None and y is None) or torch.equal(x, y)
        for a, b in zip(first, second, strict=True)
        for x, y in zip(vars(a).values(), vars(b).values(), strict=True)
    )


@given(st.integers(1, 60), st.integers(1, 20), st.integers(1, 4), st.integers(0, 5), st.integers(0, 40))
def test_plan_partitions_every_epoch(samples: int, share: int, ranks: int, seed: int, steps: int) -> None:
    batch = share * ranks
    if batch > samples:
        with pytest.raises(DataError, match=rf"{batch} .* {samples} "):
            StepPlan(samples, batch, seed, 0, steps)
        return
    one = list(StepPlan(samples, batch, seed, 0, steps))
    several = [list(StepPlan(samples, batch, seed, 0, steps, rank, ranks)) for rank in range(ranks)]
    per_epoch = steps_per_epoch(samples, batch)
    for step, (epoch, positions) in enumerate(one):
        assert epoch == step // per_epoch
        np.testing.assert_array_equal(np.concatenate([plan[step][1] for plan in several]), positions)
    for start in range(0, steps - per_epoch + 1, per_epoch):
        seen = np.concatenate([positions for _, positions in one[start : start + per_epoch]])
        assert len(np.unique(seen)) == len(seen) == per_epoch * batch


@given(st.integers(2, 50), st.integers(0, 30), st.integers(0, 30))
def test_plan_resumes_anywhere(samples: int, start: int, rest: int) -> None:
    whole = list(StepPlan(samples, 2, 1, 0, start + rest))
    resumed = list(StepPlan(samples, 2, 1, start, start + rest))
    assert len(resumed) == len(StepPlan(samples, 2, 1, start, start + rest)) == rest
    for (epoch, positions), (other_epoch, other) in zip(whole[start:], resumed, strict=True):
        assert epoch == other_epoch
        np.testing.assert_array_equal(positions, other)


@given(st.integers(1, 50), st.integers(1, 20), st.integers(1, 5))
def test_once_plan_sees_every_sample_once(samples: int, batch: int, ranks: int) -> None:
    plans = [OncePlan(samples, batch, rank, ranks) for rank in range(ranks)]
    seen = [positions for plan in plans for _, positions in plan]
    np.testing.assert_array_equal(np.concatenate(seen), np.arange(samples))
    assert sum(len(plan) for plan in plans) == len(seen) and all(0 < len(p) <= batch for p in seen)


def test_epochs_are_shuffled_differently() -> None:
    plan = list(StepPlan(40, 40, 0, 0, 2))
    assert not np.array_equal(plan[0][1], plan[1][1])


def test_plan_refuses_what_does_not_fit() -> None:
    with pytest.raises(DataError, match="12 .* 11 "):
        StepPlan(11, 12, 0, 0, 1)
    with pytest.raises(DataError, match="10 .* 4 "):
        StepPlan(20, 10, 0, 0, 1, 0, 4)
    with pytest.raises(DataError, match="start_step 5 .* total_steps 4"):
        StepPlan(20, 10, 0, 5, 4)


def test_workers_and_start_methods_change_nothing(
    stores: Stores, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = tmp_path / ("long" * 20) / "job.1234567"  # as Slurm makes them: too long for a socket
    long.mkdir(parents=True)
    monkeypatch.setenv("TMPDIR", str(long))
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    dataset = stores.dataset(seed=1)

    def load(workers: int, start_method: str | None = None) -> list[RawBatch]:
        loader = make_loader(
            dataset, batch_size=4, start_step=0, total_steps=5, workers=workers, start_method=start_method
        )
        assert len(loader) == 5
        return list(loader)

    here = load(0)
    assert [len(batch) for batch in here] == [4] * 5
    assert batches_equal(here, load(2, "fork"))
    assert batches_equal(here, load(2, "forkserver"))
    assert batches_equal(here, load(1, "spawn"))


class ServerMemory:
    """Bytes that the process holds which the worker was forked from."""

    def __len__(self) -> int:
        return 1

    def load(self, epoch: int, positions: Ints) -> int:
        return psutil.Process().parent().memory_info().rss


def test_workers_are_forked_from_a_process_that_has_imported_pytorch() -> None:
    with make_eval_loader(ServerMemory(), batch_size=1, workers=1) as loader:
        (held,) = loader
    assert held > 100 * 2**20, "a bare fork server holds 15 MB"


def test_resuming_in_the_middle_of_an_epoch_repeats_nothing_and_leaves_nothing_out(stores: Stores) -> None:
    dataset = stores.dataset()
    whole = list(make_loader(dataset, batch_size=4, start_step=0, total_steps=6, workers=0))
    resumed = list(make_loader(dataset, batch_size=4, start_step=3, total_steps=6, workers=1))
    assert batches_equal(whole[3:], resumed)


def test_ranks_share_the_global_batch(stores: Stores) -> None:
    dataset = stores.dataset()
    whole = list(make_loader(dataset, batch_size=4, start_step=0, total_steps=3, workers=0))
    parts = [
        list(make_loader(dataset, batch_size=4, start_step=0, total_steps=3, rank=rank, world_size=2, workers=0))
        for rank in range(2)
    ]
    for step, batch in enumerate(whole):
        assert torch.equal(batch.segment_B, torch.cat([part[step].segment_B for part in parts]))
        assert torch.equal(batch.draws_BD, torch.cat([part[step].draws_BD for part in parts]))
        assert torch.equal(batch.rgb_k_BTHW3, torch.cat([part[step].rgb_k_BTHW3 for part in parts]))


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("which", ["flow", "frames"])
def test_a_damaged_store_names_segment_and_file(stores: Stores, tmp_path: Path, workers: int, which: str) -> None:
    copy = Stores(tmp_path / "flow.zarr", tmp_path / "frames", stores.num_fields)
    shutil.copytree(stores.flow, copy.flow)
    shutil.copytree(stores.frames, copy.frames)
    damaged = max((p for p in getattr(copy, which).rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)
    damaged.write_bytes(damaged.read_bytes()[:1000])
    loader = make_loader(copy.dataset(), batch_size=11, start_step=0, total_steps=1, workers=workers)
    with pytest.raises(DataError, match=rf"^segment clip-\d+ \(row \d+\): .*{damaged.name}"):
        list(loader)


def test_stopping_early_ends_the_workers(stores: Stores) -> None:
    before = set(multiprocessing.active_children())
    with make_loader(stores.dataset(), batch_size=4, start_step=0, total_steps=1000, workers=1) as loader:
        batches = iter(loader)
        assert len(next(batches)) == 4
        assert set(multiprocessing.active_children()) - before
    assert not set(multiprocessing.active_children()) - before
    assert list(batches) == []


def test_memory_stays_flat(make_stores: Callable[[list[int]], Stores]) -> None:
    statm = Path("/proc/self/statm")
    if not statm.is_file():
        pytest.skip("no /proc here to read the resident memory from")
    dataset = make_stores([20] * 8).dataset()
    plan = make_loader(dataset, batch_size=8, start_step=0, total_steps=60, workers=0)
    resident_pages = [int(statm.read_text().split()[1]) for _ in plan]
    assert (resident_pages[-1] - resident_pages[19]) * 4096 < 4 << 20


def test_eval_loader_of_one_sample_over_two_ranks(stores: Stores) -> None:
    class One:
        def __len__(self) -> int:
            return 1

        def load(self, epoch: int, positions: np.ndarray) -> list[int]:
            return [int(p) for p in positions]

    shares = [list(make_eval_loader(One(), batch_size=4, rank=rank, world_size=2, workers=0)) for rank in range(2)]
    assert shares == [[], [[0]]]
