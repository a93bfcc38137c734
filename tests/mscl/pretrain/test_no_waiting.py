"""Between two readings of the log nothing waits for the device: a step on tensors without values runs through."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode
from torch.utils._python_dispatch import _disable_current_modes

from kernels.colour import wheel_ramps
from mscl.models.mscl import MSCL
from mscl.pretrain.augment import Augment
from mscl.pretrain.config import PretrainConfig
from mscl.pretrain.draws import num_draws
from mscl.pretrain.step import momenta_of, train_step
from mscl.training.distributed import KeyExchange, World
from mscl.training.metrics import Meter, StepMetrics
from mscl.training.updater import Updater
from mscl.views import RawBatch
from tests.mscl.synthetic import SyntheticBatches, tiny_config

ALONE = World(0, 1, torch.device("cpu"))


class HostTensor(Tensor):
    """Keeps its values within the mode: there a plain tensor's `numpy` gives memory that nobody wrote."""

    def numpy(self, *, force: bool = False) -> Any:
        with _disable_current_modes():
            return super().numpy(force=force)

    def tolist(self) -> Any:
        with _disable_current_modes():
            return super().tolist()


def model_without_values(config: PretrainConfig, mode: FakeTensorMode) -> MSCL:
    """Shapes alone, as tensors are to the host while a device still computes them: reading one raises."""
    model = MSCL(config.model, config.loss, seed=0, bn_splits=config.bn_splits).train()
    for module in model.modules():
        held: tuple[dict[str, Any], ...] = (module._parameters, module._buffers)
        for tensors in held:
            for name, tensor in tensors.items():
                if tensor is not None:
                    tensors[name] = mode.from_tensor(tensor)
    return model


def micro_batch(config: PretrainConfig, mode: FakeTensorMode) -> RawBatch:
    """Clips without values; draws and rows of segments stay on the host, as in training."""
    raw = SyntheticBatches(batch_size=config.batch_size // config.accumulate, total_steps=1).at(0)
    assert raw.flow_q_BFHW2 is not None and raw.flow_k_BFHW2 is not None
    draws = np.random.default_rng(0).random((len(raw), num_draws(8)), dtype=np.float32)
    return RawBatch(
        mode.from_tensor(raw.rgb_q_BTHW3),
        mode.from_tensor(raw.rgb_k_BTHW3),
        mode.from_tensor(raw.flow_q_BFHW2),
        mode.from_tensor(raw.flow_k_BFHW2),
        torch.from_numpy(draws).as_subclass(HostTensor),
        raw.segment_B.as_subclass(HostTensor),
    )


@pytest.mark.filterwarnings("error:Accessing the data pointer of FakeTensor")
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {
            "accumulate": 2,
            "bn_splits": 2,
            "loss": {"queue_decay": 0.99999, "rotation_role": "hard"},
            "optim": {"name": "adamw"},
        },
        {"loss": {"rotation_role": "negatives", "enqueue": "released"}, "key_updates": "released"},
    ],
)
def test_a_step_and_its_metrics_read_nothing_back(tmp_path: Path, changes: dict[str, Any]) -> None:
    config = tiny_config(**changes)
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    model, raw = model_without_values(config, mode), micro_batch(config, mode)
    updater = Updater(model, config.optim)
    loss = config.loss
    augment = Augment(config.augment, rotation_q=loss.encodes_rotated_query, rotation_k=loss.encodes_rotated_key)
    meter = Meter(tmp_path, ALONE, advice="")
    # Kept for the process's life: made within the mode it would be left without values to all who colour flow after.
    wheel_ramps(torch.device("cpu"), torch.float32)
    draws, segments = raw.draws_BD.numpy().copy(), raw.segment_B.tolist()
    with mode:
        np.testing.assert_array_equal(raw.draws_BD.numpy(), draws)
        for step in range(2):
            result = train_step(
                model,
                model,
                updater,
                (augment(raw) for _ in range(config.accumulate)),
                step=step,
                accumulate=config.accumulate,
                momenta=momenta_of(step, 10, config),
                exchange=KeyExchange(ALONE, shuffle=True, seed=0),
            )
            meter.add(step + 1, StepMetrics(result.values(), raw.segment_B))
        assert meter.seen == [(1, segments), (2, segments)]
        with pytest.raises(DataDependentOutputException):
            result.grad_norm.item()
