"""The step whose numbers come in as tensors gives what the step with plain numbers gives; a CUDA graph replays it."""

from typing import Any

import pytest
import torch

from mscl.pretrain.capture import TensorStep, why_not
from mscl.pretrain.fit_mscl import build_model, whole_step
from mscl.pretrain.step import KeyMomenta
from mscl.training.distributed import KeyExchange, World
from mscl.training.updater import Updater
from tests.mscl.synthetic import SyntheticBatches, plain_views, tiny_config

ALONE = World(0, 1, torch.device("cpu"))
STEPS = 3


def steps(*, tensors: bool, optimiser_name: str) -> tuple[list[float], dict[str, Any]]:
    """Losses, and what is left, of steps with another learning rate and another momentum each."""
    config = tiny_config()
    model = build_model(config, ALONE)
    trained = [p for p in model.parameters() if p.requires_grad]
    kind: Any = {"sgd": torch.optim.SGD, "adamw": torch.optim.AdamW}[optimiser_name]
    optimiser = kind(trained, lr=0.01, fused=True, **({"momentum": 0.9} if optimiser_name == "sgd" else {}))
    updater = Updater(model, config.optim)
    updater.optimiser = optimiser
    work = whole_step(config, model, updater, KeyExchange(ALONE, shuffle=True, seed=0))
    fed = TensorStep(work, optimiser, ALONE.device)
    losses: list[float] = []
    for step in range(STEPS):
        raw = SyntheticBatches(batch_size=config.batch_size, total_steps=STEPS).at(step)
        views = plain_views(raw)
        momenta = KeyMomenta(0.9 + step / 100, (0.8 + step / 100,))
        optimiser.param_groups[0]["lr"] = 0.01 * (step + 1)
        if tensors:
            assert fed.fits(views)
            fed.fill(views, momenta)
            result = fed.result(fed.run())
            assert optimiser.param_groups[0]["lr"] == 0.01 * (step + 1), "checkpoints hold numbers"
        else:
            result = work(views, momenta)
        losses += [value.item() for value in (*result.terms[0].value.values(), result.grad_norm)]
    return losses, model.state_dict()


@pytest.mark.parametrize(("name", "relative"), [("sgd", 1e-4), ("adamw", 2e-3)])  # AdamW magnifies rounding
def test_a_step_fed_by_tensors_is_the_step(name: str, relative: float) -> None:
    (plain, before), (fed, after) = (steps(tensors=t, optimiser_name=name) for t in (False, True))
    assert fed == pytest.approx(plain, rel=relative)
    for key, value in before.items() if name == "sgd" else ():
        torch.testing.assert_close(after[key], value, rtol=10 * relative, atol=relative, msg=key)


def test_what_keeps_a_run_from_replaying() -> None:
    cuda = torch.device("cuda", 0)
    assert why_not(tiny_config(), World(0, 1, cuda)) is None
    assert "2 processes" in str(why_not(tiny_config(), World(0, 2, cuda)))
    assert "accumulate is 2" in str(why_not(tiny_config(accumulate=2), World(0, 1, cuda)))
    assert "runs on cpu" in str(why_not(tiny_config(), ALONE))


def test_momenta_of_another_memory_format_take_that_of_the_weights() -> None:
    saved, loaded = (torch.nn.Conv3d(4, 4, 3) for _ in range(2))
    loaded.to(memory_format=torch.channels_last_3d)
    config = tiny_config().optim
    before, after = (Updater(module, config).optimiser for module in (saved, loaded))
    saved(torch.rand(1, 4, 3, 3, 3)).sum().backward()
    before.step()
    after.load_state_dict(before.state_dict())
    momentum = after.state[loaded.weight]["momentum_buffer"]
    assert momentum.stride() == loaded.weight.stride()
    assert torch.equal(momentum, before.state[saved.weight]["momentum_buffer"])
