"""Compiled libraries must be of the C++ sources beside them: after an update, an older one computes as before."""

import ctypes
import hashlib
from collections.abc import Iterable
from pathlib import Path

from kernels.errors import KernelInputError


def is_of(sources: Iterable[Path], library: ctypes.CDLL, name: str) -> bool:
    """Whether `name`_sources() of the library is the digest of these files, which setup.py takes alike."""
    told = getattr(library, f"{name}_sources", None)
    if told is None:
        return False
    told.restype = ctypes.c_char_p
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in sorted(sources)))
    return bool(told() == digest.hexdigest().encode())


def refuse_other_sources(path: Path, library: ctypes.CDLL, name: str, sources: Iterable[Path]) -> None:
    """Raise KernelInputError unless the library at `path` was built of `sources`."""
    if not is_of(sources, library, name):
        raise KernelInputError(f"{path} was built from other sources than these: run `pip install -e .` again")
