"""A GPU that runs out of memory, and one that fails, is one line; another one takes over what can be taken over."""

import pickle
from pathlib import Path

import pytest
import torch

from mscl.embedding.job import over_gpus
from mscl.errors import CardError, CardMemoryError
from mscl.progress import Silent
from mscl.stage.config import RuntimeConfig
from mscl.training.card_errors import card_errors
from mscl.training.distributed import World
from mscl.training.process import USER_ERROR_CODE, run_job
from tests.mscl.ranks import RankJob

TOLD = "CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has a total capacity of 79.11 GiB of which 1.00 is free."
LOST = "CUDA error: an illegal memory access was encountered\nCUDA kernel errors might be reported at another call"


class Heard(Silent):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, text: str) -> None:
        self.lines.append(text)


def test_one_line_says_what_to_lower() -> None:
    with pytest.raises(CardMemoryError) as caught, card_errors("cuda:0", advice="lower pretrain.batch_size"):
        raise torch.OutOfMemoryError(TOLD + "\nmore")
    assert str(caught.value) == (
        "the GPU has not enough memory (CUDA out of memory Tried to allocate 20.00 GiB); lower pretrain.batch_size; "
        "what is done is kept"
    )


def test_a_card_that_fails_is_named() -> None:
    with pytest.raises(CardError) as caught, card_errors(torch.device("cuda", 1), advice="x"):
        raise torch.AcceleratorError(LOST)
    error = pickle.loads(pickle.dumps(caught.value))  # it comes out of a worker process
    assert (error.device, error.reason) == ("cuda:1", "CUDA error: an illegal memory access was encountered")
    assert str(error).startswith("cuda:1 failed (CUDA error: an illegal memory access was encountered); what is done")
    assert "\n" not in str(error)


def test_other_errors_pass() -> None:
    with pytest.raises(RuntimeError, match="other"), card_errors("cuda:0", advice="x"):
        raise RuntimeError("other")


def test_a_rank_tells_the_command_which_card_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job = RankJob(output_folder=str(tmp_path), deed="", changes={}, runtime=RuntimeConfig(device="cpu"))
    job.save(tmp_path / "job.json")
    monkeypatch.setenv("MSCL_MESSAGES", str(tmp_path / "messages.jsonl"))

    def work(job: RankJob, world: World) -> None:
        raise torch.AcceleratorError(LOST)

    assert run_job(RankJob, work, [str(tmp_path / "job.json")]) == USER_ERROR_CODE
    told = (tmp_path / "messages.jsonl").read_text()
    assert '"card":"cpu"' in told.replace(" ", "") and "illegal memory access" in told


def test_the_other_cards_go_on() -> None:
    tried: list[RuntimeConfig] = []
    heard = Heard()

    def work(runtime: RuntimeConfig) -> None:
        tried.append(runtime)
        if len(tried) < 3:
            raise CardError(f"cuda:{3 * len(tried) - 2}", "it is gone")

    over_gpus(work, RuntimeConfig(processes=3), (1, 2, 4), progress=heard)
    assert [(runtime.gpus, runtime.processes) for runtime in tried] == [((), 3), ((2, 4), 2), ((2,), 1)]
    assert heard.lines == [
        "cuda:1 failed (it is gone); its work goes to cuda:2, cuda:4",
        "cuda:4 failed (it is gone); its work goes to cuda:2",
    ]


@pytest.mark.parametrize(("gpus", "nodes"), [((1,), 1), ((1, 2), 2)])
def test_the_last_card_and_one_of_several_nodes_end_the_work(gpus: tuple[int, ...], nodes: int) -> None:
    def work(runtime: RuntimeConfig) -> None:
        raise CardError("cuda:1", "it is gone")

    with pytest.raises(CardError, match="cuda:1 failed"):
        over_gpus(work, RuntimeConfig(nodes=nodes, rendezvous="head:1"), gpus, progress=Silent())
