"""What a GPU's process does (flow_process.py): gathers the requests of workers into batches and answers them."""

from __future__ import annotations

import json
import mmap
import os
import selectors
import socket
import struct
from contextlib import suppress
from dataclasses import dataclass

import torch

from kernels.errors import KernelInputError
from mscl.errors import CardError, CardMemoryError
from mscl.extract.config import FlowConfig
from mscl.extract.flow_batches import Batch, FlowComputer
from mscl.extract.pair_flow import PairSize, SharedPairs
from mscl.milestones import reached

_POLL_SECONDS = 0.001
"""Between two looks at whether the device has finished; a batch takes fifteen times as long."""


def serve(opened: socket.socket, device: torch.device, flow: FlowConfig) -> None:
    """Answer whoever connects to the socket, until killed, or until the device fails."""
    torch.set_num_threads(1)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    _Server(opened, FlowComputer(device, flow)).run()


@dataclass(eq=False)
class _Client:
    """A worker."""

    socket: socket.socket
    memory: mmap.mmap | None = None

    def receive(self) -> _Request | None:
        """What it asks for; None: it has gone."""
        try:
            message, files, _, _ = socket.recv_fds(self.socket, 1 << 12, 1)
        except ConnectionResetError:  # gone with answers that it has not read
            return None
        if files:
            self.memory = mmap.mmap(files[0], 0)
            os.close(files[0])
        if not message:
            return None
        start, pairs, *sides = json.loads(message)
        assert self.memory is not None
        size = PairSize(*sides)
        return _Request(self, SharedPairs(self.memory, start, pairs, size), size)

    def answer(self, kind: str = "done", text: str = "") -> None:
        """Say that the fields are there, or why not."""
        with suppress(OSError):  # it has gone
            self.socket.send(json.dumps([kind, text[:2000]]).encode())


@dataclass(eq=False)
class _Request:
    """Pairs whose flow a worker waits for."""

    client: _Client
    shared: SharedPairs
    size: PairSize

    @property
    def pairs(self) -> int:
        """Their number."""
        return len(self.shared.fields)


class _Server:
    """Gathers requests into batches and answers them."""

    def __init__(self, opened: socket.socket, computer: FlowComputer) -> None:
        self._opened = opened
        self._computer = computer
        self._selector = selectors.DefaultSelector()
        self._selector.register(opened, selectors.EVENT_READ)
        self._waiting: list[_Request] = []

    def run(self) -> None:
        """Serve until killed, or until the device fails."""
        running: tuple[Batch, list[_Request]] | None = None
        while True:
            self._gather(running[0] if running else None)
            requests = self._next()
            following: Batch | None = None
            wrong: KernelInputError | None = None
            try:
                if requests:
                    try:
                        following = self._computer.begin([r.shared.frames for r in requests], requests[0].size)
                    except KernelInputError as error:
                        wrong = error
                if running is not None:
                    self._finish(*running)
                if wrong is not None:
                    self._blame(requests, wrong)
            except (CardError, CardMemoryError) as error:
                kind, text = ("card", error.reason) if isinstance(error, CardError) else ("memory", str(error))
                for request in [*(running[1] if running else []), *requests, *self._waiting]:
                    request.client.answer(kind, text)
                return
            running = (following, requests) if following is not None else None

    def _gather(self, running: Batch | None) -> None:
        """Wait for a full batch; when the device has nothing more to do, what there is has to be enough."""
        while True:
            idle = running is None or running.is_done
            self._receive(0 if idle and (self._waiting or running) else None if running is None else _POLL_SECONDS)
            if idle or self._is_full():
                return

    def _is_full(self) -> bool:
        if not self._waiting:
            return False
        size = self._waiting[0].size
        return sum(r.pairs for r in self._waiting if r.size == size) >= self._computer.batch(size)

    def _receive(self, timeout: float | None) -> None:
        for key, _ in self._selector.select(timeout):
            if key.fileobj is self._opened:
                came, _ = self._opened.accept()
                if _user_of(came) == os.getuid():
                    self._selector.register(came, selectors.EVENT_READ, _Client(came))
                else:
                    came.close()
            elif (request := key.data.receive()) is not None:
                self._waiting.append(request)
            else:
                self._selector.unregister(key.fileobj)
                key.data.socket.close()

    def _next(self) -> list[_Request]:
        """As many requests of one size, the first that came, as a batch holds; a worker's own stay in their order."""
        taken: list[_Request] = []
        passed: list[_Client] = []
        room = 0
        for request in self._waiting:
            if not taken:
                room = self._computer.batch(request.size)
            if request.pairs <= room and request.size == (taken or [request])[0].size and request.client not in passed:
                taken.append(request)
                room -= request.pairs
            else:
                passed.append(request.client)
        self._waiting = [request for request in self._waiting if request not in taken]
        return taken

    def _finish(self, batch: Batch, requests: list[_Request]) -> None:
        fields, start = self._computer.end(batch), 0
        reached("batch")
        for request in requests:
            request.shared.fields[:] = fields[start : start + request.pairs].numpy()
            start += request.pairs
            request.client.answer()

    def _blame(self, requests: list[_Request], error: KernelInputError) -> None:
        """Answer each on its own: what one cannot use is no fault of the others."""
        if len(requests) == 1:
            requests[0].client.answer("input", str(error))
            return
        for request in requests:
            try:
                batch = self._computer.begin([request.shared.frames], request.size)
                self._finish(batch, [request])
            except KernelInputError as own:
                request.client.answer("input", str(own))


def _user_of(peer: socket.socket) -> int:
    _, user, _ = struct.unpack("3i", peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i")))
    return int(user)
