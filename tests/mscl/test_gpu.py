"""What only a GPU can show; `make test-gpu` runs it, in under a minute on one card. Skipped where there is none."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from benchmarks.tvl1_scenes import smooth_motion
from kernels.tvl1 import PRESETS, oracle, tvl1_flow
from mscl.config import FlowConfig
from mscl.errors import CardMemoryError
from mscl.extract.flow_process import flow_processes
from mscl.extract.pair_flow import FlowOfProcess, OwnFlow, PairFlow, PairSize
from mscl.models.pictures import ClipBatchNorm
from mscl.pretrain import augment as plain_augment
from mscl.pretrain.augment import Augment
from mscl.pretrain.capture import WARM_UP_STEPS, CapturedStep
from mscl.pretrain.config import AugmentConfig, PretrainConfig
from mscl.pretrain.draws import num_draws, sample_draws
from mscl.pretrain.fit_mscl import build_model, fit_mscl, whole_step
from mscl.pretrain.step import KeyMomenta, StepResult
from mscl.training.card_errors import card_errors
from mscl.training.distributed import KeyExchange, World
from mscl.training.fit import StopRequest
from mscl.training.metrics import read_metrics
from mscl.training.updater import Updater
from mscl.views import TwoViews, View
from tests.mscl.synthetic import SyntheticBatches, plain_views, tiny_config

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="PyTorch sees no CUDA device here"),
]
CPU, CUDA = torch.device("cpu"), torch.device("cuda", 0)


def moved(views: TwoViews, device: torch.device, dtype: torch.dtype = torch.float32) -> TwoViews:
    def all_of(view: View) -> View:
        return View(*(None if t is None else t.to(device, dtype) for t in vars(view).values()))  # type: ignore[arg-type]

    return TwoViews(all_of(views.q), all_of(views.k))


def step_values(result: StepResult) -> list[float]:
    return [value.item() for value in (*result.terms[0].value.values(), result.grad_norm)]


class Stepper:
    """A model, its optimiser and one step, on a device."""

    def __init__(self, config: PretrainConfig, device: torch.device, dtype: torch.dtype = torch.float32) -> None:
        self.world = World(0, 1, device)
        self.model = build_model(config, self.world).to(dtype)
        self.model.queues.float()  # embeddings are float32 in every precision of the networks
        self.updater = Updater(self.model, config.optim)
        self.optimiser = self.updater.optimiser
        self.work = whole_step(config, self.model, self.updater, KeyExchange(self.world, shuffle=True, seed=0))


def views_at(config: PretrainConfig, step: int, px: int = 32) -> TwoViews:
    return plain_views(SyntheticBatches(batch_size=config.batch_size, total_steps=9, px=px).at(step))


MOMENTA = KeyMomenta(0.9, (0.9,))
RATE = 3e-4


def test_tvl1_is_that_of_the_cpu() -> None:
    first, second = (torch.from_numpy(frame)[None] for frame in smooth_motion("smooth")[:2])
    cpu = oracle.flow(first.float(), second.float(), PRESETS["balanced"])
    cuda = torch.as_tensor(tvl1_flow(first.cuda(), second.cuda(), params=PRESETS["balanced"])).cpu()
    assert float((cpu - cuda).norm(dim=-1).mean()) < 0.02


def fields_of(source: PairFlow, firsts: list[Any], seconds: list[Any], size: PairSize) -> np.ndarray:
    source.ask(firsts, seconds, size)
    return source.answer()


def test_the_process_of_a_gpu_gives_a_pair_the_same_field_whoever_else_asks() -> None:
    flow, size = FlowConfig(gap_frames=1, span_frames=1), PairSize(48, 64, 0, 32, 43)
    first, second = (smooth_motion("smooth", height=48, width=64)[i].astype(np.uint8) for i in (0, 1))
    rng = np.random.default_rng(0)
    with flow_processes(flow, ["cuda:0"]) as addresses:
        one, other = (FlowOfProcess(addresses["cuda:0"], "cuda:0", flow) for _ in range(2))
        alone = fields_of(one, [first], [second], size)
        for _ in range(4):  # eager, recorded, replayed
            noise = list(rng.integers(0, 256, (5, 48, 64), np.uint8))
            among = fields_of(other, [*noise, first], [*noise, second], size)
            np.testing.assert_array_equal(among[-1], alone[0])
    own = fields_of(OwnFlow(flow, "cuda:0"), [first], [second], size)
    np.testing.assert_allclose(alone, own, atol=1e-3)
    np.testing.assert_allclose(alone, fields_of(OwnFlow(flow, "cpu"), [first], [second], size), atol=0.1)


@pytest.mark.parametrize(("dtype", "off"), [(torch.float32, 1e-5), (torch.bfloat16, 2e-2)])
@pytest.mark.parametrize("channels", [8, 64, 256])
def test_batch_norm_in_one_pass_is_that_of_pytorch(dtype: torch.dtype, off: float, channels: int) -> None:
    torch.manual_seed(0)
    # Numbers that either type holds, so that the rectifier cuts the same.
    x, added, incoming = (torch.randn(4, channels, 3, 9, 7, device=CUDA).to(dtype).float() for _ in range(3))
    plain, ours = nn.BatchNorm3d(channels).to(CUDA), ClipBatchNorm(channels).to(CUDA)
    leaves = [x.requires_grad_(), added.requires_grad_()]
    expected = torch.relu(plain(leaves[0]) + leaves[1])
    got = ours(leaves[0].to(dtype), lambda: leaves[1].to(dtype), rectified=True)
    pairs = [(got, expected), (ours.running_var, plain.running_var), (ours.running_mean, plain.running_mean)]
    pairs += zip(
        torch.autograd.grad(got, [*leaves, *ours.parameters()], incoming.to(dtype)),
        torch.autograd.grad(expected, [*leaves, *plain.parameters()], incoming),
        strict=True,
    )
    for mine, theirs in pairs:
        assert float((mine.float() - theirs).detach().abs().max() / theirs.detach().abs().max()) < off
    assert got.dtype == dtype and int(ours.num_batches_tracked) == 1


# Convolutions in float32 use TF32, whose products have ten bits.
@pytest.mark.parametrize(("precision", "relative"), [("fp32", 1e-2), ("bf16", 5e-2)])
def test_a_step_of_r18_is_that_in_float64(precision: str, relative: float) -> None:
    config = tiny_config(model={"rgb_width": 0.25, "flow_width": 0.5}, precision="fp32")
    truth = step_values(
        Stepper(config, CPU, torch.float64).work(moved(views_at(config, 0), CPU, torch.float64), MOMENTA)
    )
    config = config.model_copy(update={"precision": precision})
    got = step_values(Stepper(config, CUDA).work(moved(views_at(config, 0), CUDA), MOMENTA))
    assert got[:-1] == pytest.approx(truth[:-1], rel=relative)
    assert got[-1] == pytest.approx(truth[-1], rel=5 * relative), "norm of the gradient"


@pytest.mark.parametrize("optimiser", ["sgd", "adamw"])
def test_replayed_steps_are_eager_steps(optimiser: str) -> None:
    # A small rate: sums on a GPU come in any order, and each step of this tiny network magnifies what that changes.
    config = tiny_config(precision="fp32", optim={"name": optimiser, "lr": RATE})
    losses: dict[bool, list[float]] = {True: [], False: []}
    moved_by: dict[bool, float] = {}
    for replayed in (False, True):
        stepper = Stepper(config, CUDA)
        said: list[str] = []
        work: Any = stepper.work
        if replayed:
            work = CapturedStep(stepper.work, stepper.optimiser, CUDA, said.append)
        for step in range(WARM_UP_STEPS + 5):
            stepper.optimiser.param_groups[0]["lr"] = RATE * (1 + step % 3)
            views = moved(views_at(config, step), CUDA)
            # Recording may choose other algorithms; in full float32 and in a fixed order they say the same.
            with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False):
                losses[replayed].append(step_values(work(views, KeyMomenta(0.9 + step / 100, (0.9,))))[0])
        began = build_model(config, stepper.world)
        pairs = zip(stepper.model.parameters(), began.parameters(), strict=True)
        moved_by[replayed] = sum(float((now - then.to(CUDA)).detach().square().sum()) for now, then in pairs) ** 0.5
        if replayed:
            assert work.replays and not said
            assert int(stepper.model.queues.pointer) == (WARM_UP_STEPS + 5) * config.batch_size % 32
    assert losses[True] == pytest.approx(losses[False], rel=1e-2)
    assert moved_by[True] == pytest.approx(moved_by[False], rel=5e-2), "way that the weights have gone"


def test_a_step_that_cannot_be_recorded_runs_eagerly() -> None:
    config = tiny_config(precision="fp32")
    stepper = Stepper(config, CUDA)
    said: list[str] = []

    def waits(views: TwoViews, momenta: KeyMomenta) -> StepResult:
        result = stepper.work(views, momenta)
        float(result.grad_norm)  # waiting for the device cannot be recorded
        return result

    work = CapturedStep(waits, stepper.optimiser, CUDA, said.append)
    for step in range(WARM_UP_STEPS + 3):
        assert np.isfinite(step_values(work(moved(views_at(config, step), CUDA), MOMENTA))).all()
    assert len(said) == 1 and "runs eagerly" in said[0] and not work.replays


def pretrained(config: PretrainConfig, output: Path, *, stop_after: int | None = None) -> list[float]:
    stop = StopRequest()
    calls = 0

    def augment(raw: Any) -> TwoViews:
        nonlocal calls
        calls += 1
        stop.asked = stop_after == calls
        return plain_views(raw)

    batches = SyntheticBatches(batch_size=config.batch_size, total_steps=config.epochs * 5, px=32)
    fit_mscl(
        config, batches, augment, steps_per_epoch=5, output=output, world=World(0, 1, CUDA), stop=stop, log_every=1
    )
    return [row["loss"] for row in read_metrics(output / "metrics.jsonl")]


def test_resuming_is_not_stopping(tmp_path: Path) -> None:
    config = tiny_config(precision="fp32")
    unbroken = pretrained(config, tmp_path / "a")
    pretrained(config, tmp_path / "b", stop_after=5)
    resumed = pretrained(config, tmp_path / "b")
    assert len(unbroken) == len(resumed) == 10
    assert resumed == pytest.approx(unbroken, rel=1e-2), "a GPU adds in another order each time"


def test_augmentation_is_that_of_the_cpu() -> None:
    config = AugmentConfig(crop_px=32)
    raw = SyntheticBatches(batch_size=32, total_steps=1, px=32).at(0)
    uniform = torch.rand(32, num_draws(8), generator=torch.Generator().manual_seed(0))
    raw = type(raw)(**(vars(raw) | {"draws_BD": uniform}))
    cpu, cuda = Augment(config)(raw), Augment(config)(raw.to(CUDA))
    for mine, theirs in ((cuda.q, cpu.q), (cuda.k, cpu.k)):
        torch.testing.assert_close(mine.rgb_B3THW.cpu(), theirs.rgb_B3THW, rtol=0, atol=1e-4)
        for got, expected in ((mine.flow_B3FHW, theirs.flow_B3FHW), (mine.rotated_B3FHW, theirs.rotated_B3FHW)):
            assert got is not None and expected is not None
            off = (got.cpu() - expected).abs()
            assert float(off.max()) < 1.001 / 255 and float((off > 1e-6).double().mean()) < 1e-3
    draws = sample_draws(uniform.numpy(), config, length=8)
    on_card = plain_augment.augment_rgb(raw.rgb_q_BTHW3.to(CUDA), draws.q, flip_B=draws.flip_q_B)
    torch.testing.assert_close(on_card.cpu(), cpu.q.rgb_B3THW, rtol=0, atol=1e-4)


def test_a_card_without_the_memory_says_what_to_lower() -> None:
    with (
        pytest.raises(CardMemoryError, match=r"memory .*; lower x; what is done is kept$"),
        card_errors(CUDA, advice="lower x"),
    ):
        torch.empty(1 << 46, device=CUDA)


def test_a_card_that_another_program_fills_says_what_to_lower() -> None:
    free_bytes, _ = torch.cuda.mem_get_info(CUDA)
    filled = torch.empty(free_bytes - (3 << 29), dtype=torch.uint8, device=CUDA)  # leaves room for another's context
    program = (
        "import torch\nfrom mscl.training.card_errors import card_errors\n"
        "with card_errors('cuda:0', advice='lower x'):\n    torch.empty(1 << 31, dtype=torch.uint8, device='cuda:0')"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert filled.is_cuda and run.returncode == 1
    assert run.stderr.strip().endswith("lower x; what is done is kept")


@pytest.mark.parametrize(("choice", "said"), [("auto", "cpu"), ("cuda", "PyTorch sees no CUDA device here")])
def test_a_hidden_card(choice: str, said: str) -> None:
    program = f"from mscl.devices import resolve_device\nprint(resolve_device({choice!r}))"
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": ""}
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment)
    assert said in (run.stdout + run.stderr).strip().split("\n")[-1]
    assert (run.returncode == 0) == (choice == "auto")
