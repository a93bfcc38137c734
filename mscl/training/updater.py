"""From losses to new weights: backward, clipping, the optimiser, and the scaling of gradients that fp16 needs."""

from typing import Any

import torch
from torch import Tensor, nn

from mscl.training.config import OptimConfig


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

        With fp16 a step whose scaled gradients overflow is left out, and counts as one of norm 0.
        """
        self.scaler.unscale_(self.optimiser)
        norm = nn.utils.clip_grad_norm_(self.module.parameters(), self.config.clip_norm)
        self.scaler.step(self.optimiser)
        self.scaler.update()
        self.optimiser.zero_grad(set_to_none=True)
        return torch.where(norm.isfinite(), norm, torch.zeros_like(norm)) if self.scaler.is_enabled() else norm

    def state_dict(self) -> dict[str, Any]:
        """For the checkpoint."""
        return {**self.optimiser.state_dict(), "scaler": self.scaler.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """From the checkpoint; one without a scaler leaves it as it is."""
        self.optimiser.load_state_dict({name: value for name, value in state.items() if name != "scaler"})
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
