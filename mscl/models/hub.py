"""Encoders on the Hugging Face hub (extra `hub`): `hub:owner/name`, or `hub:owner/name@revision`."""

import re
import warnings
from functools import lru_cache
from pathlib import Path
from types import ModuleType

from mscl.errors import AssumptionWarning, CheckpointError, UserError, one_line

_NAMED = re.compile(r"hub:(?P<repo>[\w.-]+(?:/[\w.-]+)?)(?:@(?P<revision>[\w./-]+))?")
_COMMIT = re.compile(r"[0-9a-f]{40}")
"""A revision that is always the same."""
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

    Where the hub does not answer, what the cache has is taken, with a warning: there may be a newer one.

    Raises:
        CheckpointError: no such repository, or a hub that does not answer and a cache that has it not.
        UserError: `huggingface_hub` is not installed; no name of the hub.
    """
    repo, revision = repository(name)
    library = hub_library(name)
    why = ""
    if not (library.constants.HF_HUB_OFFLINE or _COMMIT.fullmatch(revision or "")):
        try:
            revision = library.HfApi().repo_info(repo, revision=revision).sha
        except (
            Exception
        ) as error:  # whatever the library and its HTTP client raise; it takes the cache then, in silence
            why = one_line(error)
    try:
        folder = Path(library.snapshot_download(repo, revision=revision, allow_patterns=_FILES))
    except Exception as error:  # whatever the library and its HTTP client raise
        raise CheckpointError(
            f"{name} could not be fetched: {one_line(error)}; check the name, the network and, for "
            "a private one, HF_TOKEN, or give a local folder"
        ) from error
    if why:
        warnings.warn(
            f"{name}: the hub does not answer ({why}); what this machine had of it, commit {folder.name[:12]}, is "
            "taken, and may not be the newest",
            AssumptionWarning,
            stacklevel=2,
        )
    return folder


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
