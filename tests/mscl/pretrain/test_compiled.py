"""`pretrain.compile` for real: it takes a C++ compiler and a minute, so it runs with the storms (`make faults`)."""

import shutil
from typing import Any

import pytest
import torch
from torch._dynamo.utils import counters

from mscl.pretrain.fit_mscl import build_model
from mscl.pretrain.step import KeyMomenta, train_step
from mscl.training.distributed import KeyExchange, World
from mscl.training.updater import Updater
from tests.mscl.synthetic import SyntheticBatches, plain_views, tiny_config

ALONE = World(0, 1, torch.device("cpu"))


def two_steps(*, compiled: bool) -> tuple[list[float], dict[str, Any]]:
    """Losses of two steps, and what two steps leave behind."""
    config = tiny_config(compile=compiled)
    model = build_model(config, ALONE)
    updater = Updater(model, config.optim)
    losses: list[float] = []
    for step in range(2):
        raw = SyntheticBatches(batch_size=config.batch_size, total_steps=2).at(step)
        result = train_step(
            model,
            model,
            updater,
            [plain_views(raw)],
            step=step,
            accumulate=1,
            momenta=KeyMomenta(0.9, (0.9,)),
            exchange=KeyExchange(ALONE, shuffle=True, seed=0),
        )
        losses += [value.item() for value in result.terms[0].value.values()]
    return losses, dict(model.state_dict())


@pytest.mark.storm
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler on a CPU: no g++ here")
def test_two_compiled_steps_equal_two_eager_ones() -> None:
    counters.clear()
    eager_losses, eager_state = two_steps(compiled=False)
    assert not counters["stats"]
    compiled_losses, compiled_state = two_steps(compiled=True)
    assert counters["stats"]["unique_graphs"] >= 4, "both streams, with and without gradient"
    assert not counters["graph_break"]
    assert compiled_losses == pytest.approx(eager_losses, rel=1e-4)
    assert eager_state.keys() == compiled_state.keys(), "checkpoints of both can be exchanged"
    for name, value in eager_state.items():
        torch.testing.assert_close(compiled_state[name], value, rtol=1e-3, atol=1e-4, msg=name)
