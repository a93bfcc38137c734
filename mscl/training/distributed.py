"""Ranks: what torchrun tells a process, and how keys travel between processes (METHOD 1.7)."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor

from mscl.devices import DeviceChoice, device_of, gpus_to_use
from mscl.losses import Embeddings
from mscl.views import View


@dataclass(frozen=True)
class World:
    """This process among the processes that train together."""

    rank: int
    size: int
    device: torch.device

    @property
    def is_main(self) -> bool:
        """Whether this process writes checkpoints and logs."""
        return self.rank == 0


@contextmanager
def joined_world(device: DeviceChoice, gpus: Sequence[int] = ()) -> Iterator[World]:
    """The world that torchrun's environment describes; one process alone without it (D24).

    gloo on CPU, nccl on CUDA, where each process takes the GPU of its local rank.

    Args:
        gpus: of this node; empty: all.

    Raises:
        ConfigError: CUDA is asked for and there is none, or a GPU that is not there.
    """
    rank, size = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    place = torch.device(device_of(int(os.environ.get("LOCAL_RANK", "0")), gpus_to_use(device, gpus)))
    if place.type == "cuda":
        torch.cuda.set_device(place)
    if size > 1:
        dist.init_process_group("nccl" if place.type == "cuda" else "gloo")
    try:
        yield World(rank, size, place)
    finally:
        if size > 1:
            dist.destroy_process_group()


def gathered(rows_BD: Tensor, world: World) -> Tensor:
    """Rows of all ranks, one below the other in the order of ranks. Every rank has as many."""
    if world.size == 1:
        return rows_BD
    everyone = [torch.empty_like(rows_BD) for _ in range(world.size)]
    dist.all_gather(everyone, rows_BD.contiguous())
    return torch.cat(everyone)


def any_rank(flag: bool, world: World) -> bool:
    """Whether any rank says so; all ranks get the same answer, so that all leave the loop at the same step."""
    if world.size == 1:
        return flag
    votes = torch.tensor(float(flag), device=world.device)
    dist.all_reduce(votes, op=dist.ReduceOp.MAX)
    return bool(votes.item())


class KeyExchange:
    """Encodes keys so that each batch-norm batch mixes clips of all ranks, and hands them to everyone.

    Batch norm of a rank's own clips would tell query and key apart by their statistics (He et al. 2020, 3.3).
    The keys are gathered once; what comes back serves as positives and for the queues.

    Args:
        shuffle: exchange the clips between ranks before encoding; with one process there is nothing to exchange.
        seed: with the call's number it decides the permutation, the same on all ranks and after a resume.
    """

    def __init__(self, world: World, *, shuffle: bool, seed: int) -> None:
        self.world = world
        self.shuffle = shuffle
        self.seed = seed

    def encode(self, encoder: Callable[[View], Embeddings], k: View, *, call: int) -> tuple[Embeddings, Embeddings]:
        """Keys of this rank's clips, and keys of all ranks' clips in the order of ranks.

        Without shuffling the keys of rotated flow stay at home: they never enter a queue.
        """
        if self.world.size == 1:
            keys = encoder(k)
            return keys, keys
        if not self.shuffle:
            own = encoder(k)
            return own, self._gathered(Embeddings(own.rgb, own.flow))
        batch = k.rgb_B3THW.shape[0]
        order_N = self._permutation(batch * self.world.size, call)
        shuffled = View(
            self._dealt(k.rgb_B3THW, order_N),
            None if k.flow_B3FHW is None else self._dealt(k.flow_B3FHW, order_N),
            None if k.rotated_B3FHW is None else self._dealt(k.rotated_B3FHW, order_N),
        )
        mixed = self._gathered(encoder(shuffled))
        everyone = _rows(mixed, order_N.argsort().to(mixed.rgb.device))
        home = slice(self.world.rank * batch, (self.world.rank + 1) * batch)
        return _rows(everyone, home), everyone

    def _permutation(self, count: int, call: int) -> Tensor:
        # A date as a seed, 20261128, makes more than the 64 bits that torch takes.
        generator = torch.Generator().manual_seed(((self.seed << 40) + call) % 2**64)
        return torch.randperm(count, generator=generator)

    def _dealt(self, clips: Tensor, order_N: Tensor) -> Tensor:
        """Clips of the global batch at this rank's places of `order_N`, fetched from where they are."""
        batch, world = clips.shape[0], self.world
        home_PB = (order_N // batch).view(world.size, batch)  # rank that holds the clip, by place
        send = [order_N.view(world.size, batch)[place][home_PB[place] == world.rank] for place in range(world.size)]
        outgoing = clips[(torch.cat(send) - world.rank * batch).to(clips.device)].contiguous()
        incoming = torch.empty_like(clips, memory_format=torch.contiguous_format)
        from_ranks_B = home_PB[world.rank]
        arrivals = torch.bincount(from_ranks_B, minlength=world.size).tolist()
        dist.all_to_all_single(incoming, outgoing, arrivals, [part.numel() for part in send])
        # They arrive sorted by sender, and by place within each sender.
        return incoming[from_ranks_B.argsort(stable=True).argsort().to(clips.device)]

    def _gathered(self, keys: Embeddings) -> Embeddings:
        present = [t for t in (keys.rgb, keys.flow, keys.rotated) if t is not None]
        parts = gathered(torch.cat(present, dim=1), self.world).split(keys.rgb.shape[1], dim=1)
        flow = parts[1] if keys.flow is not None else None
        return Embeddings(parts[0], flow, parts[2] if keys.rotated is not None else None)


def _rows(keys: Embeddings, rows: Tensor | slice) -> Embeddings:
    flow, rotated = keys.flow, keys.rotated
    return Embeddings(keys.rgb[rows], None if flow is None else flow[rows], None if rotated is None else rotated[rows])
