"""A damaged checkpoint and a damaged record beside it, through the real command: never a new record over the damage."""

from pathlib import Path

from mscl.errors import CheckpointError
from mscl.models.weight_files import read_checkpoint
from storage.record import RECORD_NAME, read_record
from storage.verify import verify_result
from storage.workspace import Workspace
from tests.faults.in_process import command


def flip(path: Path, place: float = 0.5) -> None:
    """Change one bit in a file, at a share of its length."""
    content = bytearray(path.read_bytes())
    content[int(place * len(content))] ^= 1
    path.write_bytes(content)


def walk(place: Path, config: Path, *settings: str) -> None:
    """Damage the training of a finished workspace in three ways; AssertionError where one is built upon."""
    run = ("run", config, *settings, "--no-prefect", "--workspace", place)
    workspace = Workspace(place)
    (pretrained,) = workspace.results("pretrain")
    folder = pretrained.folder
    final = sorted((folder / "checkpoints").glob("step-*.pt"))[-1]
    # Found while it is read, though the record is sound: whatever reads the encoder refuses.
    flip(final)
    exported = place.parent / "out.safetensors"
    for reading in (("export", pretrained.key, exported), ("stage", "embed", config, *settings, "embed.clips=2")):
        code, out, err = command(*reading, "--workspace", place)
        assert code == 2 and "is damaged" in err and final.name in err and "Traceback" not in err, (code, out, err)
        assert not exported.exists()
    # Both are damaged: the record is no record, and the training goes on from the checkpoint before.
    flip(folder / RECORD_NAME)
    code, out, err = command(*run)
    assert code == 0, (out, err)
    _is_whole(folder)
    # All checkpoints and the record: the training begins anew.
    for path in (*(folder / "checkpoints").glob("step-*.pt"), folder / RECORD_NAME):
        flip(path)
    code, out, err = command(*run)
    assert code == 0, (out, err)
    _is_whole(folder)
    code, out, err = command("verify", "--workspace", place)
    assert code == 0, (out, err)


def _is_whole(folder: Path) -> None:
    record = read_record(folder)
    assert record is not None and verify_result(folder, record) == []
    for path in (folder / "checkpoints").iterdir():
        try:
            read_checkpoint(path)
        except CheckpointError as error:
            raise AssertionError(f"the new record vouches for {path.name}: {error}") from error
