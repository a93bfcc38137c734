"""Object storage through fsspec: every call tried again for a while, and its errors as one line.

Credentials come from where each library looks for them, its environment variables and files.
"""

from __future__ import annotations

import errno
import importlib
import os
import re
import time
from collections.abc import Callable
from functools import lru_cache
from typing import Any, TypeVar

from mscl.errors import ConfigError, DataError, one_line
from storage.atomic import DISK_IS_FULL

T = TypeVar("T")

MODULES = {"s3": "s3fs", "gs": "gcsfs", "az": "adlfs", "https": "aiohttp"}
"""Scheme of an address -> what it is read with; an extra is called like the scheme."""
_CREDENTIALS = {
    "s3": "AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, with AWS_ENDPOINT_URL where the server is not "
    "Amazon's; a public bucket: FSSPEC_S3_ANON=true",
    "gs": "GOOGLE_APPLICATION_CREDENTIALS; a public bucket: FSSPEC_GS_TOKEN=anon",
    "az": "AZURE_STORAGE_ACCOUNT_NAME with AZURE_STORAGE_ACCOUNT_KEY or AZURE_STORAGE_SAS_TOKEN",
}
"""Scheme -> where its library looks for credentials."""
_STATUS = ("status", "status_code", "code")
"""Where the libraries' errors say what the server answered, if they make no error of Python's of it."""
_VARIABLES = ("AWS_", "FSSPEC_", "GOOGLE_", "GCSFS_", "AZURE_")
"""Variables of the environment that say who we are and where storage is begin so."""
AT_ONCE = 32
"""Requests that wait for their answers at a time."""
_PAUSES_SECONDS = (0.5, 1.0, 2.0, 4.0, 8.0)
"""Between tries of what failed; the libraries have tried some times by themselves before each: a minute in all."""

_FIRST_SECONDS = 20.0
"""A library that got no answer for so long needs not try again where nothing has come yet."""


class StorageAnswerError(DataError):
    """Object storage that does not answer, or refuses."""


def _filesystem(url: str, *, setting: str) -> Any:
    scheme = url.partition("://")[0]
    extra = "https" if scheme == "http" else scheme
    try:
        importlib.import_module(MODULES[extra])
    except ImportError as error:
        raise ConfigError(
            f"{setting} {url} needs {MODULES[extra]}, which is not installed: pip install 'mscl-pipeline[{extra}]'"
        ) from error
    told = frozenset((name, value) for name, value in os.environ.items() if name.startswith(_VARIABLES))
    return _opened(scheme, os.getpid(), hash(told))


@lru_cache(maxsize=4)
def _opened(scheme: str, _process: int, _environment: int) -> Any:
    """fsspec's file system, one for all threads of a process, which share its connections."""
    import fsspec

    options: dict[str, Any] = {"use_listings_cache": False, "skip_instance_cache": True}  # what vanishes is to be seen
    if scheme == "s3":
        options["config_kwargs"] = {"max_pool_connections": AT_ONCE}
    elif scheme.startswith("http"):
        import aiohttp

        # Its own limit is five minutes for a whole file, and it asks no proxy.
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=15, sock_read=60)
        options["client_kwargs"] = {"timeout": timeout, "trust_env": True}
    return fsspec.filesystem(scheme, **options)


def asked(url: str, call: Callable[[Any], T], *, setting: str, is_first: bool = False) -> T:
    """What `call(filesystem)` gives; tried again for some time where storage is busy or out of reach.

    Args:
        is_first: nothing has come from there yet, so the name may be wrong: no answer at all is not waited for long.

    Raises:
        FileNotFoundError: there is no such object.
        PermissionError: it may not be read.
        StorageAnswerError: storage does not answer, or takes no credentials; in one line.
        ConfigError: the library for it is not installed.
    """
    files = _filesystem(url, setting=setting)
    began = time.monotonic()
    for number, pause_s in enumerate((*_PAUSES_SECONDS, None)):
        try:
            return call(files)
        except (FileNotFoundError, PermissionError):
            raise
        except Exception as error:  # each library has a tree of its own
            if isinstance(error, OSError) and (error.errno in DISK_IS_FULL or error.filename is not None):
                raise  # of this machine's disk
            status = next((str(getattr(error, name)) for name in _STATUS if hasattr(error, name)), "")
            if status in ("401", "403"):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES)) from error
            if status == "404":
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT)) from error
            without = any(word in type(error).__name__ for word in ("Credential", "Auth", "Profile", "Token"))
            is_busy = status in ("429", "503") or (isinstance(error, OSError) and error.errno == errno.EBUSY)
            in_vain = number > 0 or time.monotonic() - began > _FIRST_SECONDS
            if pause_s is None or without or (is_first and in_vain and not is_busy):
                _opened.cache_clear()  # credentials may be given before the next call
                raise StorageAnswerError(_said(url, error, setting=setting, without=without)) from error
            time.sleep(pause_s)
    raise AssertionError("the last try returns or raises")


def not_allowed(url: str, error: Exception, *, setting: str) -> StorageAnswerError:
    """What to say of a whole place that may not be read."""
    return StorageAnswerError(_said(url, error, setting=setting, without=True))


def _said(url: str, error: Exception, *, setting: str, without: bool) -> str:
    scheme = url.partition("://")[0]
    looks_at = f"credentials are looked for in {_CREDENTIALS[scheme]}" if scheme in _CREDENTIALS else ""
    # The address of the server may have come with credentials, too.
    reason = re.sub(r"//[^/@\s]*@", "//", one_line(error, named=not isinstance(error, OSError)))
    if without:
        return f"{setting} {url} may not be read: {reason}" + (f"; {looks_at}" if looks_at else "")
    do = "check the name and the network, then run the same command again: what is done is kept"
    return f"{setting} {url} does not answer: {reason}; {do}"
