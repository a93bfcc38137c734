"""Flow of frame pairs as a worker of extract asks for it: computed in its own process, or by the one of a GPU."""

from __future__ import annotations

import json
import mmap
import os
import socket
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from functools import cache
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from kernels.arrays import ArrayT
from kernels.errors import KernelInputError
from mscl.errors import CardError
from mscl.extract.config import FlowConfig

Frame = NDArray[np.uint8]

_PAIRS = 8
"""Pairs at once on a CPU, and of networks of others, whose memory nobody knows."""
_PIXELS = 64 * 256 * 340
"""Of all first frames in a GPU's batch: launches are most of the time of smaller ones (docs/gpu.md)."""
_MOST_PAIRS = 256
"""Of a batch, however small the frames."""
_REQUESTS = 4
"""In a batch; several workers fill one, since a segment's last pairs would leave it half empty."""


@dataclass(frozen=True)
class PairSize:
    """Frames of a pair, and the field that is stored of it."""

    height: int
    width: int
    channels: int
    """3 for RGB, 0 for grey."""
    stored_height: int
    stored_width: int

    @classmethod
    def of(cls, frame: Frame, stored_height: int, stored_width: int) -> PairSize:
        """Of frames like this one."""
        height, width, *channels = frame.shape
        return cls(height, width, channels[0] if channels else 0, stored_height, stored_width)

    @property
    def frame(self) -> tuple[int, ...]:
        """Shape of one frame."""
        return (self.height, self.width, self.channels) if self.channels else (self.height, self.width)

    @property
    def field(self) -> tuple[int, int, int]:
        """Shape of one stored field."""
        return self.stored_height, self.stored_width, 2

    def batch(self, flow: FlowConfig) -> int:
        """Pairs that a GPU computes at once. A constant, so that no result depends on who asked for what when."""
        if flow.is_plugin:
            return _PAIRS
        fit = _PIXELS // (self.height * self.width)
        return _REQUESTS * min(max(2, fit // _REQUESTS), _MOST_PAIRS // _REQUESTS)


class PairFlow(Protocol):
    """Where flow is computed."""

    def pairs(self, size: PairSize) -> int:
        """Pairs to ask for at once."""

    def fields(self, firsts: Sequence[Frame], seconds: Sequence[Frame], size: PairSize) -> NDArray[np.float32]:
        """Stored fields (n, stored_height, stored_width, 2) in px of their own grid, of n pairs.

        Raises:
            KernelInputError: what the method cannot use.
        """


@dataclass(frozen=True)
class OwnFlow:
    """Flow computed in this process."""

    flow: FlowConfig
    device: str

    def pairs(self, size: PairSize) -> int:
        """Few on a CPU, a batch on a GPU."""
        return _PAIRS if self.device == "cpu" else size.batch(self.flow)

    def fields(self, firsts: Sequence[Frame], seconds: Sequence[Frame], size: PairSize) -> NDArray[np.float32]:
        """See PairFlow."""
        if self.device == "cpu":
            return stored_flow(np.stack(firsts), np.stack(seconds), self.flow, size)
        import torch

        first, second = (torch.from_numpy(np.stack(frames)).to(self.device) for frames in (firsts, seconds))
        return np.asarray(stored_flow(first, second, self.flow, size).cpu())


def stored_flow(first: ArrayT, second: ArrayT, flow: FlowConfig, size: PairSize) -> ArrayT:
    """Flow of frames (B, H, W) or (B, H, W, 3) where they lie, float32 (B, stored_height, stored_width, 2)."""
    from kernels.flow import compute_flow, resize_flow

    flow_BHW2 = compute_flow(
        first, second, method=flow.method, preset=flow.preset, backend=flow.backend or "auto",
        raft_weights=flow.raft_weights or None, raft_updates=flow.raft_updates, weights=flow.weights or None,
    )  # fmt: skip
    return resize_flow(flow_BHW2, size.stored_height, size.stored_width)


class FlowOfProcess:
    """Flow computed by a GPU's process (flow_process.py), through memory that both see."""

    def __init__(self, address: str, device: str, flow: FlowConfig) -> None:
        self._flow = flow
        self._device = device
        self._memory = mmap.mmap(-1, 1)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            self._socket.connect(address)
        except OSError as error:
            raise self._gone() from error

    def pairs(self, size: PairSize) -> int:
        """A part of a batch."""
        batch = size.batch(self._flow)
        return batch if self._flow.is_plugin else batch // _REQUESTS

    def fields(self, firsts: Sequence[Frame], seconds: Sequence[Frame], size: PairSize) -> NDArray[np.float32]:
        """See PairFlow.

        Raises:
            CardError: the GPU or its process failed.
        """
        from mscl.training.card_errors import CardMemoryError

        request = json.dumps([len(firsts), *astuple(size)]).encode()
        shared = SharedPairs.bytes(self.pairs(size), size)
        try:
            if shared > len(self._memory):
                file = os.memfd_create("mscl pairs")
                os.truncate(file, shared)
                self._memory = mmap.mmap(file, shared)
                self._seen(firsts, seconds, size)
                socket.send_fds(self._socket, [request], [file])
                os.close(file)
            else:
                self._seen(firsts, seconds, size)
                self._socket.send(request)
            reply = self._socket.recv(1 << 16)
        except OSError as error:
            raise self._gone() from error
        if not reply:
            raise self._gone()
        kind, text = json.loads(reply)
        if kind == "input":
            raise KernelInputError(text)
        if kind == "memory":
            raise CardMemoryError(text)
        if kind == "card":
            raise CardError(self._device, text)
        return SharedPairs(self._memory, len(firsts), size).fields.copy()

    def _seen(self, firsts: Sequence[Frame], seconds: Sequence[Frame], size: PairSize) -> None:
        frames = SharedPairs(self._memory, len(firsts), size).frames
        for number, pair in enumerate(zip(firsts, seconds, strict=True)):
            frames[0, number], frames[1, number] = pair

    def _gone(self) -> CardError:
        return CardError(self._device, "the process that computes its flow has ended")


class SharedPairs:
    """Frames that come in and fields that go back, in memory that a worker and a GPU's process share."""

    def __init__(self, memory: mmap.mmap, pairs: int, size: PairSize) -> None:
        numbers = 2 * pairs * int(np.prod(size.frame))
        self.frames = np.frombuffer(memory, np.uint8, numbers).reshape(2, pairs, *size.frame)
        """(2, n, H, W) or (2, n, H, W, 3): firsts and seconds."""
        self.fields = np.frombuffer(
            memory, np.float32, pairs * int(np.prod(size.field)), offset=_aligned(numbers)
        ).reshape(pairs, *size.field)
        """(n, stored_height, stored_width, 2)."""

    @staticmethod
    def bytes(pairs: int, size: PairSize) -> int:
        """What they need."""
        return _aligned(2 * pairs * int(np.prod(size.frame))) + 4 * pairs * int(np.prod(size.field))


def _aligned(count: int) -> int:
    return -(-count // 64) * 64


@cache
def flow_of_process(address: str, device: str, flow: FlowConfig) -> FlowOfProcess:
    """This process's connection."""
    return FlowOfProcess(address, device, flow)
