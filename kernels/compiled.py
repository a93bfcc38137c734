"""Whether a compiled library is of the C++ sources beside it: after an update, an older one computes as before."""

import ctypes
import hashlib
from collections.abc import Iterable
from pathlib import Path


def is_of(sources: Iterable[Path], library: ctypes.CDLL, name: str) -> bool:
    """Whether `name`_sources() of the library is the digest of these files, which setup.py takes alike."""
    told = getattr(library, f"{name}_sources", None)
    if told is None:
        return False
    told.restype = ctypes.c_char_p
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in sorted(sources)))
    return bool(told() == digest.hexdigest().encode())
