"""From losses to new weights: backward, clipping, the optimiser, and the scaling of gradients that fp16 needs."""

from typing import Any

import torch
from torch import Tensor, nn

from mscl.training.config import OptimConfig

MOST_LEFT_OUT = 30
"""Steps in a row that fp16 may leave out, each halving the scale, before the gradient itself counts as not finite."""


class Updater:
    """The optimiser of what is trained of a module; frozen parameters (key networks) are left alone.

    `state_dict` is the optimiser's, with the state of the scaler beside it.

    Args:
        scaler: from `gradient_scaler`; None: gradients are not scaled.
    """

    def __init__(self, module: nn.Module, config: OptimConfig, *, scaler: torch.amp.GradScaler | None = None) -> None:
        trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
        self.module = module
        self.config = config
        self.scaler = scaler or torch.amp.GradScaler("cpu", enabled=False)
        cuda = all(parameter.device.type == "cuda" for parameter in trained)
        way: dict[str, Any] = {"fused": True} if cuda else {"foreach": True}
        self._left_out = torch.zeros((), dtype=torch.int64, device=trained[0].device)  # steps in a row
        self.optimiser: torch.optim.Optimizer
        if config.name == "sgd":
            self.optimiser = torch.optim.SGD(
                trained, lr=config.lr, momentum=config.momentum, weight_decay=config.weight_decay, **way
            )
        else:
            if cuda:
                way["capturable"] = True
            self.optimiser = torch.optim.AdamW(trained, lr=config.lr, weight_decay=config.weight_decay, **way)
        self.optimiser.register_load_state_dict_pre_hook(_keep_way)
        self.optimiser.register_load_state_dict_post_hook(_keep_formats)

    def set_rate(self, rate: float) -> None:
        """Learning rate of the next step."""
        for group in self.optimiser.param_groups:
            group["lr"] = rate

    def backward(self, loss: Tensor) -> None:
        """Add the gradients of a loss, or of a micro-batch's share of it."""
        self.scaler.scale(loss).backward()

    def step(self) -> Tensor:
        """New weights from the gradients so far; returns their norm before clipping, on the device.

        With fp16 a step whose scaled gradients overflow is left out, counts as one of norm 0, and lowers the scale.
        Where that helps none of MOST_LEFT_OUT steps, the norm is told as it is.
        """
        self.scaler.unscale_(self.optimiser)
        norm = nn.utils.clip_grad_norm_(self.module.parameters(), self.config.clip_norm)
        self.scaler.step(self.optimiser)
        self.scaler.update()
        self.optimiser.zero_grad(set_to_none=True)
        if not self.scaler.is_enabled():
            return norm
        self._left_out = torch.where(norm.isfinite(), 0, self._left_out + 1)
        # By a tensor on the device: asking the scaler for its scale would wait for the device.
        return torch.where((self._left_out > 0) & (self._left_out <= MOST_LEFT_OUT), torch.zeros_like(norm), norm)

    def values(self) -> dict[str, Tensor]:
        """For the metrics of the step before: with fp16, whether it was left out."""
        return {"left_out": (self._left_out > 0).float()} if self.scaler.is_enabled() else {}

    def state_dict(self) -> dict[str, Any]:
        """For the checkpoint."""
        own = {"scaler": self.scaler.state_dict(), "left_out": int(self._left_out)}
        return {**self.optimiser.state_dict(), **own}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """From the checkpoint; one without a scaler leaves it as it is."""
        own = ("scaler", "left_out")
        self.optimiser.load_state_dict({name: value for name, value in state.items() if name not in own})
        self._left_out.fill_(state.get("left_out", 0))
        if scaler := state.get("scaler"):
            self.scaler.load_state_dict(scaler)


def _keep_way(optimiser: torch.optim.Optimizer, state: dict[str, Any]) -> dict[str, Any]:
    """A checkpoint of another device leaves the kernels that the optimiser runs by as they are here."""
    groups = [
        {**saved, **{key: own[key] for key in ("foreach", "fused", "capturable") if key in own}}
        for saved, own in zip(state["param_groups"], optimiser.param_groups, strict=True)
    ]
    return {**state, "param_groups": groups}


def _keep_formats(optimiser: torch.optim.Optimizer) -> None:
    """Momenta in the memory format of their weights: fused kernels refuse a checkpoint of another device else."""
    for parameter, state in optimiser.state.items():
        for name, value in state.items():
            if isinstance(value, Tensor) and value.shape == parameter.shape:
                state[name] = torch.empty_like(parameter).copy_(value)
