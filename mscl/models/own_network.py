"""A network of the user's own: what `module:function` gives."""

import copy
import pkgutil
import re
from collections.abc import Iterator
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from mscl.errors import UserError, one_line
from mscl.models.clip_contract import Contract
from mscl.models.outside_encoder import Origin, OutsideEncoder

_STATISTICS = ("running_mean", "running_var")
_NAMED = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")


class OwnNetwork(nn.Module):
    """A user's module, whatever it gives of clips: features (B, C), tokens (B, N, C) or maps (B, C, T, H, W)."""

    def __init__(self, network: nn.Module, name: str, contract: Contract) -> None:
        super().__init__()
        self.network = network
        self.name = name
        own = contract.input
        clip_13THW = torch.zeros(1, 3, own.clip.length, own.crop_px, own.crop_px)
        try:
            with torch.inference_mode():
                given: Any = network.eval()(clip_13THW)
        except Exception as error:  # whatever a stranger's code raises
            raise _failed(name, f"fails on clips of its contract, {tuple(clip_13THW.shape)}", error) from error
        if not isinstance(given, Tensor) or given.ndim not in (2, 3, 5):
            shape = tuple(given.shape) if isinstance(given, Tensor) else type(given).__name__
            raise UserError(
                f"the network of {name} gives {shape} of a clip; it is to give (B, C), (B, N, C) or (B, C, T, H, W)"
            )
        if not given.is_floating_point():
            raise UserError(f"the network of {name} gives {given.dtype}; it is to give floating point numbers")
        self.feature_dim = given.shape[1 if given.ndim != 3 else 2]
        self._check(given, 1)

    def _check(self, given: Tensor, clips: int) -> Tensor:
        """What came of so many clips, if it is of each of them: rows of others would be taken for theirs.

        Raises:
            UserError: another number of rows, or of features.
        """
        dim = given.shape[1 if given.ndim != 3 else 2]
        if given.shape[0] != clips or dim != self.feature_dim:
            raise UserError(
                f"the network of {self.name} gives {tuple(given.shape)} of {clips} clip{'s' * (clips != 1)}; the first "
                f"number is to be {clips}, and there are to be {self.feature_dim} features"
            )
        return given

    def forward(self, x_B3THW: Tensor) -> Tensor:
        """Features (B, C): the mean over tokens or places.

        Raises:
            UserError: features of another number of clips.
        """
        given = self._check(self.network(x_B3THW), x_B3THW.shape[0])
        return given if given.ndim == 2 else _tokens(given).mean(dim=1)

    def tokens(self, x_B3THW: Tensor) -> Tensor:
        """(B, N, C).

        Raises:
            UserError: the network gives features alone, or those of another number of clips.
        """
        given = self._check(self.network(x_B3THW), x_B3THW.shape[0])
        if given.ndim == 2:
            raise UserError(
                f"the network of {self.name} gives one vector a clip and nothing to attend to; let it give tokens "
                "(B, N, C) or maps (B, C, T, H, W), or take probe.head=linear"
            )
        return _tokens(given)


def _tokens(given: Tensor) -> Tensor:
    return given if given.ndim == 3 else given.flatten(2).transpose(1, 2)


def is_function_name(name: str) -> bool:
    """Whether `name` has the form of `module:function`."""
    return _NAMED.fullmatch(name) is not None


def own_network(name: str, contract: Contract) -> OwnNetwork:
    """What the function makes, with random weights, be it that the function loads those of a training.

    Raises:
        UserError: no such function, or it makes no network that can be used.
    """
    network, again = _made(name), _made(name)
    shared = {id(tensor) for tensor in _tensors(network)} & {id(tensor) for tensor in _tensors(again)}
    if shared:  # those of the encoder itself, which the function keeps, and which may be on a GPU by now
        network = copy.deepcopy(network).cpu()
    _draw_anew(network, again)
    return OwnNetwork(network, name, contract)


@torch.no_grad()
def _draw_anew(network: nn.Module, again: nn.Module) -> None:
    """Draw what two calls of a function have in common, but for constants: it was learnt, or is as good as that.

    Layers of PyTorch are drawn as they are at first, the numbers of other parameters are put in random order. What the
    function draws itself is left as it drew it, and so is a buffer, but for the running statistics of a norm.
    """
    twins = dict(again.named_modules())
    for name, module in network.named_modules():
        twin = _own_tensors(twins[name]) if name in twins else {}
        learnt = [tensor for at, tensor in _own_tensors(module).items() if at in twin and _is_learnt(tensor, twin[at])]
        draw = getattr(module, "reset_parameters", None)
        if learnt and draw is not None and type(module).__module__.startswith("torch.nn."):
            draw()
            continue
        for tensor in learnt:
            tensor.copy_(tensor.flatten()[torch.randperm(tensor.numel(), device=tensor.device)].view_as(tensor))


def _tensors(module: nn.Module) -> Iterator[Tensor]:
    return chain(module.parameters(), module.buffers())


def _own_tensors(module: nn.Module) -> dict[str, Tensor]:
    """Parameters and running statistics of a module itself."""
    statistics = {name: buffer for name, buffer in module.named_buffers(recurse=False) if name in _STATISTICS}
    return {**dict(module.named_parameters(recurse=False)), **statistics}


def _is_learnt(tensor: Tensor, twin: Tensor) -> bool:
    same = tensor.shape == twin.shape and torch.equal(tensor, twin.to(tensor.device))
    return same and bool((tensor != tensor.flatten()[:1]).any())


def read_own(name: str) -> OutsideEncoder:
    """The encoder that `module:function` makes, with its weights: a module that has its `mscl.Contract` as
    `contract`.

    Raises:
        UserError: as `own_network`; no contract.
    """
    with torch.random.fork_rng(devices=[]):  # a network with random weights is the same one every time
        torch.manual_seed(0)
        network = _made(name)
    contract = getattr(network, "contract", None)
    if not isinstance(contract, Contract):
        raise UserError(
            f"the network of {name} does not say what its videos go through; give it an attribute `contract`, an "
            "mscl.Contract with mean, std and input"
        )
    return OutsideEncoder(OwnNetwork(network, name, contract), Origin(kind="function", name=name), contract).eval()


def _made(name: str) -> nn.Module:
    try:
        function = pkgutil.resolve_name(name)
    except ModuleNotFoundError as error:
        raise UserError(
            f"{name}: there is no module {error.name!r} to import; install it, or put its folder into PYTHONPATH"
        ) from error
    except Exception as error:  # whatever importing a stranger's code raises
        raise _failed(name, "cannot be imported", error) from error
    try:
        made = function()
    except Exception as error:  # whatever a stranger's code raises
        raise _failed(name, "fails", error) from error
    if not isinstance(made, nn.Module):
        raise UserError(f"{name} gives a {type(made).__name__}; it is to give a torch.nn.Module")
    return made


def _failed(name: str, what: str, error: Exception) -> UserError:
    """In one line, whatever the error looks like."""
    return UserError(f"{name} {what}: {one_line(error, named=True)}")
