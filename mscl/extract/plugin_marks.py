"""What tells one state of weights, and of a stranger's flow method, from another: part of the result's key."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from kernels.flow_plugins import PTLFLOW
from mscl.extract.config import FlowConfig
from storage.atomic import digest_file
from storage.user_paths import user_path


def plugin_marks(flow: FlowConfig) -> dict[str, str]:
    """Digests of the weights file and of the module's own file; of a package the version, too, where it has one.

    A version does not stand for the file: of a package in work (`pip install -e .`) it stays as it is. ptlflow's
    networks lie in other files than its own, so its version has to do. What the module imports in turn is not looked
    at. Empty where something is not there, which preflight refuses.
    """
    module = flow.method.partition(":")[0]
    package = module.partition(".")[0]
    try:
        found = version(package)
    except PackageNotFoundError:
        found = ""
    try:
        spec = find_spec(module) if not found or module != PTLFLOW else None
    except (ImportError, ValueError):
        spec = None
    return {
        "version": found,
        "code": digest_file(Path(spec.origin)) if spec and spec.origin and Path(spec.origin).is_file() else "",
        "weights": file_mark(flow.weights),
    }


def file_mark(name: str) -> str:
    """sha256 of a file that a setting names; empty where none is named, or there."""
    path = user_path(name) if name else None
    return digest_file(path) if path and path.is_file() else ""
