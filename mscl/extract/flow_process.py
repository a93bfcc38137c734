"""The process of a GPU that computes the flow of all workers of extract: they decode, and hold nothing on the GPU.

A worker's frames come through memory that both see, and the fields go back there. Requests of several workers make a
batch (flow_server.py). While the GPU computes one, the next is put together. This module is the command's part, and
brings no PyTorch: what computes is imported in the process, while workers start.
"""

from __future__ import annotations

import multiprocessing
import os
import secrets
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from mscl.cuda_driver import make_context
from mscl.extract.config import FlowConfig
from mscl.milestones import reached
from mscl.orphans import deaf_to_interrupts, die_with_parent


@contextmanager
def flow_processes(flow: FlowConfig, devices: Sequence[str]) -> Iterator[dict[str, str]]:
    """One process for each device; its address, by device. They end with the context, and with this process."""
    context = multiprocessing.get_context("spawn")
    addresses, processes = {}, []
    try:
        for device in devices:
            address = f"\0mscl-flow-{os.getpid()}-{secrets.token_hex(8)}"
            # Opened here: workers may ask before the process has imported what it needs.
            with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as opened:
                opened.bind(address)
                opened.listen(256)
                process = context.Process(target=_serve, args=(opened, device, flow, os.getpid()), daemon=True)
                with deaf_to_interrupts():
                    process.start()
                    processes.append(process)
            addresses[device] = address
        yield addresses
    finally:
        for process in processes:
            process.kill()  # it holds nothing that is not with a worker
            process.join()


def _serve(opened: socket.socket, device: str, flow: FlowConfig, parent: int) -> None:
    # Before PyTorch is imported, which takes seconds.
    die_with_parent(parent=parent)
    reached("flow process started")
    kind, _, number = device.partition(":")
    if kind == "cuda":
        # The driver takes about as long for its part, which PyTorch then finds made.
        threading.Thread(target=make_context, args=(int(number),), daemon=True).start()
    import torch

    from mscl.extract.flow_server import serve

    reached("flow process imported")
    serve(opened, torch.device(device), flow)
