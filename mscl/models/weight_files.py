"""Weights in files whose damage is seen: PyTorch checkpoints (`.pt`) and safetensors with a JSON card.

PyTorch's reader checks no CRC and safetensors has none, so a flipped bit would be another weight without a word.
Every file written here carries the sha256 of its own content where its format has room for text: `mscl-sha256:` and
64 digits, as the comment of the checkpoint's ZIP archive, or in the card. The digest is that of the whole file with 64
zeros in the place of the digits. Any other reader of these formats can open the files as well.

Files of other programs and of older versions carry none: of a checkpoint the CRCs of the archive are checked instead.
"""

import hashlib
import json
import pickle
import re
import struct
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from mscl.errors import CheckpointError
from storage.atomic import cannot_write, publish, staged_path, write_atomic

_MARK = b"mscl-sha256:"
_ZEROS = b"0" * 64
_IN_COMMENT = re.compile(rb"mscl-sha256:([0-9a-f]{64})\Z")
_IN_CARD = re.compile(rb'\\"mscl_digest\\": \\"mscl-sha256:([0-9a-f]{64})\\"')
_DIGEST = "mscl_digest"
"""Name of an entry that every file written here has: without a digest such a file is damaged, not foreign."""
_CHUNK_BYTES = 1 << 20
_MAX_HEADER_BYTES = 1 << 27


def check_file(path: Path) -> None:
    """Refuse what cannot hold weights, before it is opened.

    Raises:
        CheckpointError: nothing there, no file, or an empty one.
    """
    if not path.exists():
        raise CheckpointError(f"{path} does not exist; check the path")
    if not path.is_file():
        raise CheckpointError(f"{path} is no file; give a file of weights")
    if path.stat().st_size == 0:
        raise CheckpointError(f"{path} is damaged: it is empty; {_MEND}")


def is_safetensors(path: Path) -> bool:
    """Whether a file is to be read by `read_safetensors`: by its beginning, or by its name where it is damaged.

    Raises:
        CheckpointError: as `check_file`; a file that may not be read.
    """
    check_file(path)
    try:
        with path.open("rb") as file:
            return file.read(9)[8:] == b"{" or path.suffix == ".safetensors"
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}") from error


def write_checkpoint(path: Path, state: Mapping[str, Any]) -> None:
    """Write tensors and plain values as `path`, whole or not at all, with their digest.

    Raises:
        StorageError: the disk is full or refuses for another reason; says how much room the file takes.
    """
    staged = staged_path(path)
    try:
        with staged.open("w+b") as file:
            torch.save({**state, _DIGEST: "in the comment of this archive"}, file)
            file.seek(-2, 2)  # length of the archive's comment: there is none yet
            file.write(struct.pack("<H", len(_MARK + _ZEROS)) + _MARK + _ZEROS)
            place = file.tell() - len(_ZEROS)
            digits = _digest(file, place)
            file.seek(place)
            file.write(digits)
        publish(staged, path)
    except (OSError, RuntimeError) as error:
        refusal = _os_error(error)
        if refusal is None:
            raise
        staged.unlink(missing_ok=True)  # its room is free again, and the message says how much there is
        raise cannot_write(path, refusal, needs_bytes=sum(tensor.nbytes for tensor in _tensors(state))) from error
    finally:
        staged.unlink(missing_ok=True)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """A checkpoint's contents on CPU; tensors and plain values only, nothing in the file can execute.

    Raises:
        CheckpointError: the file is missing, unreadable or damaged.
    """
    check_file(path)
    try:
        with path.open("rb") as file:
            has_digest = _check_archive(file, path)
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except CheckpointError:
        raise
    except Exception as error:  # whatever a reader of pickles raises of any file
        why = str(error).partition("\n")[0]
        # The advice of these is to let the file execute.
        if isinstance(error, pickle.UnpicklingError) or "weights_only" in why:
            raise CheckpointError(
                f"checkpoint {path} cannot be read: it is no PyTorch file of tensors and plain values alone; of a "
                "network that was saved whole, with its code, save the state_dict"
            ) from error
        raise CheckpointError(
            f"checkpoint {path} cannot be read: {type(error).__name__}: {why}; it must be whole, and weights a "
            "state_dict, not a pickled model"
        ) from error
    if not isinstance(state, dict):
        raise CheckpointError(f"{path} holds a {type(state).__name__}, not a checkpoint")
    if state.pop(_DIGEST, None) is not None and not has_digest:
        raise CheckpointError(f"checkpoint {path} is damaged: its digest is gone; {_MEND}")
    return state


def write_safetensors(path: Path, tensors: Mapping[str, Tensor], card: Mapping[str, Any]) -> None:
    """Write tensors with a card of plain values and their digest; same tensors and card, same bytes.

    The card is the only entry of the file's metadata: with several, safetensors writes them in random order.
    """
    from safetensors.torch import save

    text = json.dumps({**card, _DIGEST: (_MARK + _ZEROS).decode()}, indent=1, sort_keys=True)
    whole = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    content = save(whole, {"card": text})
    match = _IN_CARD.search(content)
    assert match is not None, "the card has a digest"
    place = match.start(1)
    digits = hashlib.sha256(content).hexdigest().encode()
    write_atomic(path, [content[:place], digits, content[place + len(_ZEROS) :]])


def read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors on CPU, and the card; of a file of others their metadata as it is.

    Raises:
        CheckpointError: the file is missing, unreadable or damaged.
    """
    from safetensors import SafetensorError, safe_open

    check_file(path)
    try:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            header = file.read(min(length, _MAX_HEADER_BYTES))
            if match := _IN_CARD.search(header):
                _check(file, 8 + match.start(1), match.group(1), path)
            elif _MARK in header or _DIGEST.encode() in header:
                raise CheckpointError(f"{path} is damaged: its digest is gone; {_MEND}")
        with safe_open(path, framework="pt") as reader:
            metadata = reader.metadata() or {}
            tensors = {name: reader.get_tensor(name) for name in reader.keys()}  # noqa: SIM118 (not a mapping)
        card = json.loads(metadata["card"]) if "card" in metadata else dict(metadata)
    except CheckpointError:
        raise
    except (OSError, SafetensorError, struct.error, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} cannot be read: {str(error).partition(chr(10))[0]}") from error
    if not isinstance(card, dict):
        raise CheckpointError(f"{path} has a {type(card).__name__} for a card, not an object")
    card.pop(_DIGEST, None)
    return tensors, card


_MEND = "copy it again from where it is whole; `mscl verify KEY --repair` makes a result of the pipeline again"


def _check_archive(file: BinaryIO, path: Path) -> bool:
    """Compare the archive's own digest, or else its CRCs; whether it has one (no archive: neither)."""
    end = file.seek(0, 2)
    place = max(0, end - len(_ZEROS))
    file.seek(max(0, end - len(_MARK + _ZEROS)))
    if match := _IN_COMMENT.search(file.read()):
        _check(file, place, match.group(1), path)
        return True
    file.seek(0)
    if file.read(4) == b"PK\x03\x04":
        try:
            with zipfile.ZipFile(file) as archive:
                damaged = archive.testzip()
        except (zipfile.BadZipFile, NotImplementedError, EOFError) as error:
            raise CheckpointError(f"checkpoint {path} is damaged: {error}; {_MEND}") from error
        if damaged is not None:
            raise CheckpointError(f"checkpoint {path} is damaged: the CRC of {damaged} in it is wrong; {_MEND}")
    return False


def _check(file: BinaryIO, place: int, written: bytes, path: Path) -> None:
    found = _digest(file, place)
    if found != written:
        raise CheckpointError(
            f"{path} is damaged: its content has sha256 {found[:16].decode()}..., and "
            f"{written[:16].decode()}... was written; {_MEND}"
        )


def _digest(file: BinaryIO, place: int) -> bytes:
    """sha256 of a file with zeros for the 64 digits at `place`."""
    digest = hashlib.sha256()
    file.seek(0)
    left = place
    while chunk := file.read(min(_CHUNK_BYTES, left)):
        digest.update(chunk)
        left -= len(chunk)
    digest.update(_ZEROS)
    file.seek(place + len(_ZEROS))
    while chunk := file.read(_CHUNK_BYTES):
        digest.update(chunk)
    return digest.hexdigest().encode()


def _os_error(error: BaseException | None) -> OSError | None:
    """What the file system said: PyTorch's writer ends in an error of its own over it."""
    while error is not None and not isinstance(error, OSError):
        error = error.__context__
    return error


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _tensors(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _tensors(item)
