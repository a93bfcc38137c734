"""Encoders on the Hugging Face hub (extra `hub`): `hub:owner/name`, or `hub:owner/name@revision`."""

import re
from functools import lru_cache
from pathlib import Path
from types import ModuleType

from mscl.errors import CheckpointError, UserError, one_line

_NAMED = re.compile(r"hub:(?P<repo>[\w.-]+(?:/[\w.-]+)?)(?:@(?P<revision>[\w./-]+))?")
_FILES = ["*.json", "*.safetensors", "*.bin"]
"""What encoders are in; nothing else of a repository is fetched."""


def is_hub_name(name: str) -> bool:
    """Whether `name` asks for the hub."""
    return name.startswith("hub:")


def repository(name: str) -> tuple[str, str | None]:
    """Repository and revision of a name.

    Raises:
        UserError: no name of that form.
    """
    found = _NAMED.fullmatch(name)
    if found is None:
        raise UserError(f"{name!r} is no name on the hub; write hub:owner/name or hub:owner/name@revision")
    return found["repo"], found["revision"]


@lru_cache  # one revision for a whole run
def hub_folder(name: str) -> Path:
    """The files of `hub:owner/name` in the hub's cache on this machine; with HF_HUB_OFFLINE=1 nothing is fetched.

    Raises:
        CheckpointError: no such repository, or a hub that does not answer and a cache that has it not.
        UserError: `huggingface_hub` is not installed; no name of the hub.
    """
    repo, revision = repository(name)
    library = hub_library(name)
    try:
        return Path(library.snapshot_download(repo, revision=revision, allow_patterns=_FILES))
    except Exception as error:  # whatever the library and its HTTP client raise
        raise CheckpointError(
            f"{name} could not be fetched: {one_line(error)}; check the name, the network and, for "
            "a private one, HF_TOKEN, or give a local folder"
        ) from error


def hub_library(asker: str) -> ModuleType:
    """`huggingface_hub`.

    Raises:
        UserError: it is not installed.
    """
    try:
        import huggingface_hub
    except ImportError as error:
        raise UserError(
            f"{asker} needs huggingface_hub, which is not installed: pip install 'mscl-pipeline[hub]'"
        ) from error
    found: ModuleType = huggingface_hub
    return found
