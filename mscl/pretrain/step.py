"""One optimiser step of MSCL, in order (METHOD 1.7)."""

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from mscl.losses import Embeddings, LossTerms
from mscl.models.mscl import MSCL
from mscl.pretrain.config import PretrainConfig
from mscl.schedules import key_momentum
from mscl.training.distributed import KeyExchange
from mscl.training.updater import Updater
from mscl.views import TwoViews


@dataclass(frozen=True)
class StepResult:
    """Loss terms of every micro-batch and the norm of the gradient before clipping, on the device."""

    terms: list[LossTerms]
    grad_norm: Tensor

    def values(self) -> dict[str, Tensor]:
        """The loss, the gradient's norm, and every term's value and top-1: means over the micro-batches."""
        first = self.terms[0]
        values = {name: torch.stack([term.value[name].detach() for term in self.terms]) for name in first.value}
        top1 = {f"{name}_top1": torch.stack([term.top1[name] for term in self.terms]) for name in first.top1}
        loss = torch.stack([term.total.detach() for term in self.terms]).sum() / len(self.terms)
        means = {name: stacked.mean() for name, stacked in {**values, **top1}.items()}
        return {"loss": loss, "grad_norm": self.grad_norm.detach(), **means}


@dataclass(frozen=True)
class KeyMomenta:
    """EMA momenta of one step."""

    rgb: float | Tensor
    flow: tuple[float | Tensor, ...]
    """One update of the flow network per entry: the first before any key, the others after the keys of flow and before
    those of rotated flow (D7)."""


def train_step(
    model: MSCL,
    trained: nn.Module,
    updater: Updater,
    micro_batches: Iterable[TwoViews],
    *,
    step: int,
    accumulate: int,
    momenta: KeyMomenta,
    exchange: KeyExchange,
    autocast: Callable[[], AbstractContextManager[None]] = nullcontext,
) -> StepResult:
    """One optimiser step over all micro-batches; queues are read as they stood before and written once after.

    Args:
        trained: `model`, or `model` wrapped for distributed training.
        micro_batches: `accumulate` of them; a generator keeps one at a time in memory.
        step: global step, from 0.
    """
    model.update_keys(momenta.rgb, momenta.flow[0])
    encode_keys = partial(model.encode_keys, late_flow_momenta=momenta.flow[1:])
    terms: list[LossTerms] = []
    keys: list[Embeddings] = []
    for place, views in enumerate(micro_batches):
        with nullcontext() if place == accumulate - 1 else _unsynced(trained):
            with autocast():
                own, everyone = exchange.encode(encode_keys, views.k, call=step * accumulate + place)
                result: LossTerms = trained(views.q, own, everyone)
            updater.backward(result.total / accumulate)
        terms.append(result)
        keys.append(everyone)
    # After backward, not before: the logits refer to the queues themselves, so no copy is needed.
    model.queues.enqueue(_in_batch_order(keys, ranks=exchange.world.size))
    return StepResult(terms, updater.step())


def momenta_of(step: int, total_steps: int, config: PretrainConfig) -> KeyMomenta:
    """EMA momenta of global step `step`: s / S of METHOD 1.7 is step / total_steps (D8).

    `key_updates: released` (D7): two updates of the flow key network a step, so that its schedule runs at double speed;
    flow is encoded after the first, rotated flow after the second.
    """

    def momentum(progress: float) -> float:
        if config.key_momentum_schedule == "constant":
            return config.key_momentum
        return key_momentum(progress, base=config.key_momentum)

    rgb = momentum(step / total_steps)
    if config.key_updates == "once":
        return KeyMomenta(rgb, (rgb,))
    return KeyMomenta(rgb, (momentum(2 * step / total_steps), momentum((2 * step + 1) / total_steps)))


def _unsynced(trained: nn.Module) -> AbstractContextManager[None]:
    """Gradients of all but the last micro-batch stay on their rank."""
    return trained.no_sync() if isinstance(trained, DistributedDataParallel) else nullcontext()


def _in_batch_order(keys: list[Embeddings], *, ranks: int) -> Embeddings:
    """(micro-batch, rank, clip) -> (rank, micro-batch, clip): the order of the global batch, whatever the split."""
    if len(keys) == 1:
        return keys[0]

    def ordered(parts: list[Tensor]) -> Tensor:
        return torch.stack([part.unflatten(0, (ranks, -1)) for part in parts], dim=1).flatten(0, 2)

    flow = [k.flow for k in keys if k.flow is not None]
    return Embeddings(ordered([k.rgb for k in keys]), ordered(flow) if flow else None)
