"""Flow of frame pairs as a worker of extract asks for it: computed in its own process, or by the one of a GPU."""

from __future__ import annotations

import json
import mmap
import os
import socket
import weakref
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import astuple, dataclass
from functools import cache
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from kernels.arrays import ArrayT
from kernels.errors import KernelInputError
from mscl.errors import CardError, CardMemoryError
from mscl.extract.config import FlowConfig
from mscl.milestones import reached

Frame = NDArray[np.uint8]

_PAIRS = 8
"""Pairs at once on a CPU, and of networks of others, whose memory nobody knows."""
_PIXELS = 64 * 256 * 340
"""Of all first frames in a GPU's batch: launches are most of the time of smaller ones (docs/gpu.md)."""
_TURNS = 2
"""Requests of a worker that may be under way: it decodes for one while the other is computed."""
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
    """Where flow is computed: a worker asks, goes on decoding, and takes the answer before it asks a third time."""

    def pairs(self, size: PairSize) -> int:
        """Pairs to ask for at once."""

    def ask(self, firsts: Sequence[Frame], seconds: Sequence[Frame], size: PairSize) -> None:
        """Ask for the fields of n pairs."""

    def answer(self) -> NDArray[np.float32]:
        """What was asked for first: fields (n, stored_height, stored_width, 2) in px of their own grid.

        Raises:
            KernelInputError: what the method cannot use.
        """


class OwnFlow:
    """Flow computed in this process."""

    def __init__(self, flow: FlowConfig, device: str) -> None:
        self._flow = flow
        self._device = device
        self._asked: deque[tuple[NDArray[np.uint8], NDArray[np.uint8], PairSize]] = deque()

    def pairs(self, size: PairSize) -> int:
        """Few on a CPU, a batch on a GPU."""
        return _PAIRS if self._device == "cpu" else size.batch(self._flow)

    def ask(self, firsts: Sequence[Frame], seconds: Sequence[Frame], size: PairSize) -> None:
        """See PairFlow."""
        self._asked.append((np.stack(firsts), np.stack(seconds), size))

    def answer(self) -> NDArray[np.float32]:
        """See PairFlow."""
        first, second, size = self._asked.popleft()
        if self._device == "cpu":
            return stored_flow(first, second, self._flow, size)
        import torch

        on_gpu = [torch.from_numpy(frames).to(self._device) for frames in (first, second)]
        return np.asarray(stored_flow(on_gpu[0], on_gpu[1], self._flow, size).cpu())


def stored_flow(first: ArrayT, second: ArrayT, flow: FlowConfig, size: PairSize) -> ArrayT:
    """Flow of frames (B, H, W) or (B, H, W, 3) where they lie, float32 (B, stored_height, stored_width, 2)."""
    from kernels.flow import compute_flow, resize_flow

    flow_BHW2 = compute_flow(
        first, second, method=flow.method, preset=flow.preset, backend=flow.backend or "auto",
        raft_weights=flow.raft_weights or None, raft_updates=flow.raft_updates, raft_bf16=flow.raft_bf16,
        weights=flow.weights or None,
    )  # fmt: skip
    return resize_flow(flow_BHW2, size.stored_height, size.stored_width)


class FlowOfProcess:
    """Flow computed by a GPU's process (flow_process.py), through memory that both see."""

    def __init__(self, address: str, device: str, flow: FlowConfig) -> None:
        self._flow = flow
        self._device = device
        self._memory = mmap.mmap(-1, 1)
        self._asked: deque[SharedPairs] = deque()
        self._turn = 0
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        weakref.finalize(self, self._socket.close)  # a worker's is kept until the process ends
        try:
            self._socket.connect(address)
        except OSError as error:
            raise self._gone() from error

    def pairs(self, size: PairSize) -> int:
        """A part of a batch."""
        batch = size.batch(self._flow)
        return batch if self._flow.is_plugin else batch // _REQUESTS

    def ask(self, firsts: Sequence[Frame], seconds: Sequence[Frame], size: PairSize) -> None:
        """See PairFlow.

        Raises:
            CardError: the GPU's process has ended.
        """
        files = []
        room = SharedPairs.bytes(self.pairs(size), size)
        if _TURNS * room > len(self._memory):
            reached("worker asks")
            files = [os.memfd_create("mscl pairs")]
            os.truncate(files[0], _TURNS * room)
            self._memory = mmap.mmap(files[0], _TURNS * room)
        self._turn = (self._turn + 1) % _TURNS
        shared = SharedPairs(self._memory, self._turn * room, len(firsts), size)
        for number, pair in enumerate(zip(firsts, seconds, strict=True)):
            shared.frames[0, number], shared.frames[1, number] = pair
        request = json.dumps([self._turn * room, len(firsts), *astuple(size)]).encode()
        try:
            socket.send_fds(self._socket, [request], files)
        except OSError as error:
            raise self._gone() from error
        finally:
            for file in files:
                os.close(file)
        self._asked.append(shared)

    def answer(self) -> NDArray[np.float32]:
        """See PairFlow.

        Raises:
            CardError: the GPU or its process failed.
            CardMemoryError: its memory does not suffice.
        """
        try:
            reply = self._socket.recv(1 << 16)
        except OSError as error:
            raise self._gone() from error
        if not reply:
            raise self._gone()
        shared = self._asked.popleft()
        kind, text = json.loads(reply)
        if kind == "input":
            raise KernelInputError(text)
        if kind == "memory":
            raise CardMemoryError(text)
        if kind == "card":
            raise CardError(self._device, text)
        return shared.fields.copy()

    def forget(self) -> None:
        """Wait for what was asked for and never taken, as of a segment that failed: the next one would take it."""
        while self._asked:
            with suppress(KernelInputError):
                self.answer()

    def _gone(self) -> CardError:
        return CardError(self._device, "the process that computes its flow has ended")


class SharedPairs:
    """Frames that come in and fields that go back, in memory that a worker and a GPU's process share."""

    def __init__(self, memory: mmap.mmap, start: int, pairs: int, size: PairSize) -> None:
        numbers = 2 * pairs * int(np.prod(size.frame))
        self.frames = np.frombuffer(memory, np.uint8, numbers, start).reshape(2, pairs, *size.frame)
        """(2, n, H, W) or (2, n, H, W, 3): firsts and seconds."""
        self.fields = np.frombuffer(
            memory, np.float32, pairs * int(np.prod(size.field)), start + _aligned(numbers)
        ).reshape(pairs, *size.field)
        """(n, stored_height, stored_width, 2)."""

    @staticmethod
    def bytes(pairs: int, size: PairSize) -> int:
        """What they need."""
        return _aligned(2 * pairs * int(np.prod(size.frame))) + _aligned(4 * pairs * int(np.prod(size.field)))


def _aligned(count: int) -> int:
    return -(-count // 64) * 64


def flow_of_process(address: str, device: str, flow: FlowConfig) -> FlowOfProcess:
    """This process's connection, with nothing under way.

    Raises:
        CardError, CardMemoryError: as `FlowOfProcess.answer`.
    """
    found = _connection(address, device, flow)
    found.forget()
    return found


@cache
def _connection(address: str, device: str, flow: FlowConfig) -> FlowOfProcess:
    return FlowOfProcess(address, device, flow)
