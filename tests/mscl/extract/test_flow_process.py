"""The process that computes flow for workers, here on the CPU: the same fields as without it, and its end is said."""

import multiprocessing
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from kernels.errors import KernelInputError
from mscl.config import DecodeLimits, FlowConfig
from mscl.errors import CardError
from mscl.extract.flow_batches import FlowComputer
from mscl.extract.flow_process import flow_processes
from mscl.extract.pair_flow import FlowOfProcess, OwnFlow, PairFlow, PairSize
from mscl.extract.shard import ShardTask, _computed
from mscl.extract.video_pass import Segment

pytestmark = pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="GPUs' processes are for Linux")
TVL1 = FlowConfig(gap_frames=1, span_frames=1, store_short_side=16)
LARGE, SMALL = PairSize(36, 48, 0, 16, 21), PairSize(24, 32, 0, 16, 21)


def no_black_frames(first_BHW3: Tensor, second_BHW3: Tensor) -> Tensor:
    time.sleep(0.05)  # meanwhile the other worker asks
    return torch.full((*first_BHW3.shape[:3], 2), torch.nan if (first_BHW3 == 0).all(dim=(1, 2, 3)).any() else 1.0)


PLUGIN = FlowConfig(method=f"{__name__}:no_black_frames")


def side_by_side(works: list[tuple[Callable[..., None], tuple[Any, ...]]]) -> None:
    threads = [threading.Thread(target=work, args=args, daemon=True) for work, args in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=120)
        assert not thread.is_alive(), "a worker was never answered"


def fields_of(source: PairFlow, firsts: list[np.ndarray], seconds: list[np.ndarray], size: PairSize) -> np.ndarray:
    source.ask(firsts, seconds, size)
    return source.answer()


@pytest.fixture(scope="module")
def addresses() -> Iterator[dict[str, str]]:
    """One process for TV-L1, one for a method of one's own."""
    with flow_processes(TVL1, ["cpu"]) as tvl1, flow_processes(PLUGIN, ["cpu"]) as plugin:
        yield {"tvl1": tvl1["cpu"], "plugin": plugin["cpu"]}


def pairs(count: int, size: PairSize, seed: int) -> tuple[list[np.ndarray], list[np.ndarray]]:
    frames = np.random.default_rng(seed).integers(0, 256, (2, count, *size.frame), np.uint8)
    return list(frames[0]), list(frames[1])


def test_fields_of_workers_that_ask_side_by_side_are_their_own(addresses: dict[str, str]) -> None:
    wrong: list[str] = []

    def work(seed: int) -> None:
        source = FlowOfProcess(addresses["tvl1"], "cpu", TVL1)
        for turn in range(4):
            size = (SMALL, LARGE)[(seed + turn) % 2]
            firsts, seconds = pairs(1 + (seed * 3 + turn) % 7, size, 10 * seed + turn)
            got = fields_of(source, firsts, seconds, size)
            if not np.array_equal(got, fields_of(OwnFlow(TVL1, "cpu"), firsts, seconds, size)):
                wrong.append(f"worker {seed}, turn {turn}")

    side_by_side([(work, (seed,)) for seed in range(5)])
    assert wrong == []


def test_a_segments_fields_are_those_of_a_worker_alone(
    addresses: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (45, 36, 48, 3), np.uint8)
    segment = Segment(Path("a.mp4"), 0, 45, 36, 48, 0)
    monkeypatch.setattr("mscl.extract.pair_flow._PIXELS", 64 * 36 * 48)  # so that the segment takes three requests
    got = {}
    for name, known in (("alone", {}), ("process", {"cpu": addresses["tvl1"]})):
        task, jpegs, ticks = ShardTask(0, (segment,), TVL1, DecodeLimits(), Path(), known), [], []  # type: ignore[var-annotated]
        got[name] = np.stack(list(_computed(iter(frames), segment, task, jpegs, ticks.append)))
        assert len(got[name]) == len(jpegs) == sum(ticks) == 44
    np.testing.assert_array_equal(got["process"], got["alone"])


def test_what_a_failed_segment_asked_for_is_not_the_next_ones(
    addresses: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (45, 36, 48, 3), np.uint8)
    segment = Segment(Path("a.mp4"), 0, 45, 36, 48, 0)
    monkeypatch.setattr("mscl.extract.pair_flow._PIXELS", 64 * 36 * 48)
    task = ShardTask(0, (segment,), TVL1, DecodeLimits(), Path(), {"cpu": addresses["tvl1"]})
    fields = _computed(iter(frames), segment, task, [], [].append)
    next(fields)  # of the first request, when the second is under way
    fields.close()
    got = np.stack(list(_computed(iter(frames[20:28]), segment, task, [], [].append)))
    alone = np.stack(list(_computed(iter(frames[20:28]), segment, replace(task, flow_processes={}), [], [].append)))
    np.testing.assert_array_equal(got, alone)


def test_a_batch_is_full_whoever_asks_and_gives_each_pair_what_it_gets_alone() -> None:
    computer = FlowComputer(torch.device("cpu"), TVL1)
    some = [np.stack(pairs(count, LARGE, seed)) for seed, count in enumerate((3, 5))]
    batch = computer.batch(LARGE)
    fields = computer.end(computer.begin(some, LARGE))
    assert fields.shape == (batch, 16, 21, 2) and batch >= 64
    alone = computer.end(computer.begin(some[1:], LARGE))
    assert torch.equal(fields[3:8], alone[:5])


def test_what_one_worker_cannot_use_is_not_told_to_another(addresses: dict[str, str]) -> None:
    size = PairSize(36, 48, 3, 16, 21)
    said: dict[str, str] = {}

    def work(name: str, frame: np.ndarray) -> None:
        source = FlowOfProcess(addresses["plugin"], "cpu", PLUGIN)
        for _ in range(4):
            try:
                fields = fields_of(source, [frame], [frame], size)
                said.setdefault(name, str(fields.dtype))
            except KernelInputError as error:
                said.setdefault(name, str(error))

    frames = {"black": np.zeros(size.frame, np.uint8), "grey": np.full(size.frame, 128, np.uint8)}
    side_by_side([(work, item) for item in frames.items()])
    assert said["grey"] == "float32" and re.search("no_black_frames .*(NaN|finite)", said["black"])


def test_a_worker_that_ends_before_it_reads_its_answer_is_alone_in_that(addresses: dict[str, str]) -> None:
    gone, other = (FlowOfProcess(addresses["tvl1"], "cpu", TVL1) for _ in range(2))
    gone.ask(*pairs(1, SMALL, 0), SMALL)
    for _ in range(2):  # when the first comes, that of the one that asked before is there
        assert fields_of(other, *pairs(1, SMALL, 0), SMALL).shape == (1, *SMALL.field)
        gone = None  # type: ignore[assignment]  # its socket is closed


ASKING = """
import sys
import numpy as np
from mscl.config import FlowConfig
from mscl.extract import extraction, shard, stage
from mscl.extract.pair_flow import FlowOfProcess, PairSize
source = FlowOfProcess(f"\\0{sys.argv[1]}", "cpu", FlowConfig.model_validate_json(sys.argv[2]))
frames = [np.zeros((24, 32), np.uint8)]
source.ask(frames, frames, PairSize(24, 32, 0, 16, 21))
print(source.answer().shape, "torch" in sys.modules)
"""


def test_who_asks_imports_no_pytorch(addresses: dict[str, str]) -> None:
    """Neither a worker nor the command: sixteen that import it wait for each other, and the GPU for them."""
    asking = [sys.executable, "-W", "always", "-c", ASKING, addresses["tvl1"][1:], TVL1.model_dump_json()]
    said = subprocess.run(asking, capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "(1, 16, 21, 2) False"
    assert "unclosed" not in said.stderr


def test_its_end_is_the_failure_of_its_gpu() -> None:
    before = set(multiprocessing.active_children())
    with flow_processes(TVL1, ["cpu"]) as known:
        (process,) = set(multiprocessing.active_children()) - before
        source = FlowOfProcess(known["cpu"], "cuda:1", TVL1)
        firsts, seconds = pairs(2, SMALL, 0)
        fields_of(source, firsts, seconds, SMALL)
        assert process.pid is not None
        blocked = re.search(r"SigBlk:\s*(\w+)", Path(f"/proc/{process.pid}/status").read_text())
        assert blocked and int(blocked[1], 16) >> signal.SIGINT - 1 & 1, "Ctrl-C is for the command"
        os.kill(process.pid, signal.SIGKILL)
        with pytest.raises(CardError, match="cuda:1 failed .*process that computes its flow has ended"):
            fields_of(source, firsts, seconds, SMALL)
        process.join()
        with pytest.raises(CardError, match="has ended"):
            FlowOfProcess(known["cpu"], "cuda:1", TVL1)
