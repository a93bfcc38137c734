"""A network of the user's own: what `module:function` gives."""

import re
from importlib import import_module

import torch
from torch import Tensor, nn

from mscl.errors import CheckpointError, UserError
from mscl.models.outside_encoder import Contract, Origin, OutsideEncoder

_NAMED = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")


class OwnNetwork(nn.Module):
    """A user's module, whatever it gives of clips: features (B, C), tokens (B, N, C) or maps (B, C, T, H, W)."""

    def __init__(self, network: nn.Module, name: str, contract: Contract) -> None:
        super().__init__()
        self.network = network
        self.name = name
        own = contract.input
        with torch.inference_mode():
            was_training = network.training
            given = network.eval()(torch.zeros(1, 3, own.clip.length, own.crop_px, own.crop_px))
            network.train(was_training)
        if not isinstance(given, Tensor) or given.ndim not in (2, 3, 5):
            shape = tuple(given.shape) if isinstance(given, Tensor) else type(given).__name__
            raise UserError(
                f"the network of {name} gives {shape} of a clip; it is to give (B, C), (B, N, C) or (B, C, T, H, W)"
            )
        self.feature_dim = given.shape[1 if given.ndim != 3 else 2]

    def forward(self, x_B3THW: Tensor) -> Tensor:
        """Features (B, C): the mean over tokens or places."""
        given: Tensor = self.network(x_B3THW)
        return given if given.ndim == 2 else _tokens(given).mean(dim=1)

    def tokens(self, x_B3THW: Tensor) -> Tensor:
        """(B, N, C).

        Raises:
            UserError: the network gives features alone.
        """
        given: Tensor = self.network(x_B3THW)
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
    """What the function makes.

    Raises:
        UserError: no such function, or it makes no network that can be used.
    """
    return OwnNetwork(_made(name), name, contract)


def read_own(name: str) -> OutsideEncoder:
    """The encoder that `module:function` makes, with its weights: a module that has its `mscl.api.Contract` as
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
    module_name, _, function = name.partition(":")
    try:
        made = getattr(import_module(module_name), function)()
    except ModuleNotFoundError as error:
        raise UserError(
            f"{name}: there is no module {error.name!r} to import; install it, or put its folder into PYTHONPATH"
        ) from error
    except AttributeError as error:
        raise UserError(f"{name}: {str(error).partition(chr(10))[0]}") from error
    if not isinstance(made, nn.Module):
        raise CheckpointError(f"{name} gives a {type(made).__name__}; it is to give a torch.nn.Module")
    return made
