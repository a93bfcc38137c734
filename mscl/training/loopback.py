"""A training on one node that nobody outside can reach.

torchrun's meeting point, and the store through which ranks find each other, listen on all interfaces whatever address
they are given, without a password, and the meeting point unpickles what is put there. Both take a socket that listens
already, so they are given one on loopback. Over several nodes they must listen: there the network is to be trusted.
"""

import os
import socket
from typing import Any

from torch import distributed
from torch.distributed.elastic.rendezvous import c10d_rendezvous_backend

HOST = "127.0.0.1"
_Store: Any = getattr(distributed, "TCPStore")  # noqa: B009 - torch's stubs do not name it


def keep_to_loopback() -> None:
    """Let every store that this process serves, and every socket of gloo's in its ranks, be on loopback alone."""
    for module in (distributed, c10d_rendezvous_backend):
        vars(module)["TCPStore"] = _store
    for library in ("GLOO", "NCCL"):
        os.environ.setdefault(f"{library}_SOCKET_IFNAME", _interface())


def _store(host_name: str, port: int, *args: Any, is_master: bool = False, **kwargs: Any) -> Any:
    if is_master:
        listener = socket.create_server((HOST, port))
        host_name, port = HOST, listener.getsockname()[1]
        kwargs["master_listen_fd"] = listener.detach()  # the store closes it
    return _Store(host_name, port, *args, is_master=is_master, **kwargs)


def _interface() -> str:
    """Name of the loopback interface."""
    names = [name for _, name in socket.if_nameindex()]
    return next((name for name in names if name in ("lo", "lo0")), names[0])
