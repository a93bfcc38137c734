"""Flow of batches of frame pairs on one device, with the memory for them.

TV-L1 is some hundred kernels, whose launches take as long as small batches themselves, so that it is recorded once per
size as a CUDA graph.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from kernels.tvl1 import PRESETS
from mscl.extract.config import FlowConfig
from mscl.extract.pair_flow import PairSize, stored_flow
from mscl.milestones import reached
from mscl.training.card_errors import card_errors

_EAGER_BATCHES = 2
"""Of a size, before it is recorded: they compile kernels, and a size that comes once is not worth it."""
_SIZES = 8
"""Sizes of frames whose memory and recordings are kept."""


@dataclass
class Batch:
    """A batch on its way."""

    fields: Tensor
    done: torch.cuda.Event | None

    @property
    def is_done(self) -> bool:
        """Whether the device has finished it."""
        return self.done is None or self.done.query()


class FlowComputer:
    """Flow of batches on one device, two at a time: one computed, one put together."""

    def __init__(self, device: torch.device, flow: FlowConfig) -> None:
        self._device = device
        self._flow = flow
        self._sizes: OrderedDict[PairSize, _Buffers] = OrderedDict()
        self._pool: Any = None
        self._turn = 0
        # With epsilon TV-L1 asks the device how far it is, which a recording cannot.
        self._is_recorded = flow.method == "tvl1" and PRESETS[flow.preset].epsilon == 0

    def batch(self, size: PairSize) -> int:
        """Pairs of a batch."""
        return size.batch(self._flow)

    def begin(self, frames: Sequence[Any], size: PairSize) -> Batch:
        """Start on frames, arrays (2, n, H, W) or (2, n, H, W, 3) of together at most a batch."""
        with card_errors(self._device, advice="lower flow.compute_short_side"):
            buffers = self._buffers(size)
            self._turn = 1 - self._turn
            start = 0
            incoming = buffers.incoming[self._turn]
            for some in frames:
                incoming[:, start : start + some.shape[1]] = torch.from_numpy(some)
                start += some.shape[1]
            incoming[:, start:] = incoming[:, start - 1 : start]  # the rest of the batch is computed in vain
            return self._launch(buffers, size)

    def end(self, batch: Batch) -> Tensor:
        """Its fields (batch, stored_height, stored_width, 2)."""
        with card_errors(self._device, advice="lower flow.compute_short_side"):
            if batch.done is not None:
                batch.done.synchronize()
        return batch.fields

    def _buffers(self, size: PairSize) -> _Buffers:
        found = self._sizes.pop(size, None)
        if found is None:
            while len(self._sizes) >= _SIZES:
                self._sizes.popitem(last=False)
            found = _Buffers.of(self.batch(size), size, self._device)
            reached("GPU memory is there")
        self._sizes[size] = found
        return found

    def _launch(self, buffers: _Buffers, size: PairSize) -> Batch:
        if self._device.type != "cuda":
            return Batch(self._computed(buffers.incoming[self._turn], size), None)
        buffers.frames.copy_(buffers.incoming[self._turn], non_blocking=True)
        if buffers.graph is not None:
            buffers.graph.replay()
        elif self._is_recorded and buffers.batches == _EAGER_BATCHES:
            buffers.graph = torch.cuda.CUDAGraph()
            self._pool = self._pool or torch.cuda.graph_pool_handle()  # one for all: they never run side by side
            with torch.cuda.graph(buffers.graph, pool=self._pool):
                buffers.fields = self._computed(buffers.frames, size)
            reached("recorded")
            buffers.graph.replay()
        else:
            buffers.fields = self._computed(buffers.frames, size)
        buffers.batches += 1
        outgoing = buffers.outgoing[self._turn]
        outgoing.copy_(buffers.fields, non_blocking=True)
        done = torch.cuda.Event()
        done.record()
        return Batch(outgoing, done)

    def _computed(self, frames: Tensor, size: PairSize) -> Tensor:
        first, second = frames
        fields: Tensor = stored_flow(first, second, self._flow, size)
        return fields


@dataclass
class _Buffers:
    """Memory for batches of one size."""

    incoming: list[Tensor]
    """Two of (2, batch, H, W) or (2, batch, H, W, 3), on the host."""
    outgoing: list[Tensor]
    """Two of (batch, stored_height, stored_width, 2), on the host."""
    frames: Tensor
    """As incoming, on the device."""
    fields: Tensor
    """What the last batch gave, on the device."""
    graph: torch.cuda.CUDAGraph | None = None
    batches: int = 0

    @classmethod
    def of(cls, batch: int, size: PairSize, device: torch.device) -> _Buffers:
        """Empty ones."""
        on_gpu = device.type == "cuda"
        frames, fields = (2, batch, *size.frame), (batch, *size.field)
        return cls(
            [torch.zeros(frames, dtype=torch.uint8, pin_memory=on_gpu) for _ in range(2)],
            [torch.zeros(fields, pin_memory=on_gpu) for _ in range(2)],
            torch.zeros(frames, dtype=torch.uint8, device=device),
            torch.zeros(fields, device=device),
        )
