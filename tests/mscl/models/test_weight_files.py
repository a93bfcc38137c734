"""Weight files: the same content gives the same bytes, and no damage is read as weights."""

import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from mscl.errors import CheckpointError
from mscl.models.config import ModelConfig
from mscl.models.encoders import untrained_encoder
from mscl.models.files import ENCODER_PREFIX, EXPORT_NAME, read_encoder, write_encoder
from mscl.models.weight_files import read_checkpoint, read_safetensors, write_checkpoint, write_safetensors

TINY = ModelConfig(rgb_width=0.0625)
FLIPS = 200


def state() -> dict[str, Any]:
    encoder = untrained_encoder(TINY, seed=0)
    optimiser = torch.optim.AdamW(encoder.parameters())
    encoder(torch.rand(2, 3, 4, 16, 16)).sum().backward()
    optimiser.step()
    model = {ENCODER_PREFIX + name: tensor for name, tensor in encoder.state_dict().items()}
    return {
        "step": 7, "model": model, "optimiser": optimiser.state_dict(), "model_config": TINY.model_dump_json(),
        "random": {"torch": torch.random.get_rng_state(), "list": [1, 2.5, None, "a"]},
    }  # fmt: skip


def same(a: Any, b: Any) -> bool:
    if isinstance(a, Tensor):
        return isinstance(b, Tensor) and torch.equal(a, b)
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return isinstance(b, list | tuple) and len(a) == len(b) and all(map(same, a, b))
    return bool(a == b)


def flipped(content: bytes, *, seed: int) -> bytes:
    """One bit of `content` is another; more often where the formats' own words are."""
    rng = random.Random(seed)
    span = [range(len(content)), range(min(1024, len(content))), range(max(0, len(content) - 1024), len(content))]
    damaged = bytearray(content)
    damaged[rng.choice(span[seed % 3])] ^= 1 << rng.randrange(8)
    return bytes(damaged)


def written_checkpoint(folder: Path) -> Path:
    write_checkpoint(folder / "whole.pt", state())
    return folder / "whole.pt"


def written_export(folder: Path) -> Path:
    return write_encoder(untrained_encoder(TINY, seed=0), TINY, folder / EXPORT_NAME, card={"steps": 7})


@pytest.mark.parametrize(("write", "read"), [(written_checkpoint, read_checkpoint), (written_export, read_safetensors)])
def test_no_flipped_bit_is_read_in_silence(
    tmp_path: Path, write: Callable[[Path], Path], read: Callable[[Path], Any]
) -> None:
    whole = write(tmp_path)
    content, damaged = whole.read_bytes(), tmp_path / f"other{whole.suffix}"
    read(whole)
    for seed in range(FLIPS):
        damaged.write_bytes(flipped(content, seed=seed))
        with pytest.raises(CheckpointError, match=r"is damaged|cannot be read"):
            read(damaged)
            pytest.fail(f"flip {seed} was read as if nothing were wrong")


def test_every_flip_of_a_digest_itself_is_seen(tmp_path: Path) -> None:
    whole = written_checkpoint(tmp_path).read_bytes()
    for place in range(len(whole) - 76 - 22, len(whole)):  # end of the archive's directory, mark, digits
        damaged = bytearray(whole)
        damaged[place] ^= 1
        (tmp_path / "damaged.pt").write_bytes(damaged)
        with pytest.raises(CheckpointError):
            read_checkpoint(tmp_path / "damaged.pt")


def test_a_checkpoint_without_a_digest_is_held_to_the_crcs_of_its_archive(tmp_path: Path) -> None:
    """Files of older versions and of other programs: whatever is read of them is what was written."""
    whole = state()
    torch.save(whole, tmp_path / "old.pt")
    content, damaged = (tmp_path / "old.pt").read_bytes(), tmp_path / "damaged.pt"
    assert same(read_checkpoint(tmp_path / "old.pt"), whole)
    seen = 0
    for seed in range(FLIPS):
        damaged.write_bytes(flipped(content, seed=seed))
        try:
            assert same(read_checkpoint(damaged), whole), seed
        except CheckpointError:
            seen += 1
    assert seen > FLIPS / 3  # the others hit what no reader looks at: padding, dates


@pytest.mark.parametrize("kept", [0, 1, 3, 100, 0.5, 0.99])
@pytest.mark.parametrize("write", [written_checkpoint, written_export])
def test_a_file_that_is_cut_short_is_one_line(tmp_path: Path, write: Callable[[Path], Path], kept: float) -> None:
    path = write(tmp_path)
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content)) if isinstance(kept, float) else kept])
    with pytest.raises(CheckpointError) as caught:
        read_encoder(path)
    assert path.name in str(caught.value) and "\n" not in str(caught.value)


def test_the_same_content_gives_the_same_bytes(tmp_path: Path) -> None:
    torch.manual_seed(0)
    content = state()
    for number in range(3):
        write_checkpoint(tmp_path / f"{number}.pt", content)
        write_safetensors(tmp_path / f"{number}.safetensors", content["model"], {"b": "1", "a": "2", "c": [3], "d": 4})
    for suffix in ("pt", "safetensors"):
        assert len({(tmp_path / f"{number}.{suffix}").read_bytes() for number in range(3)}) == 1


def test_others_can_read_the_files(tmp_path: Path) -> None:
    from safetensors.torch import load_file

    content = state()
    write_checkpoint(tmp_path / "a.pt", content)
    assert same(torch.load(tmp_path / "a.pt", weights_only=True)["model"], content["model"])
    write_safetensors(tmp_path / "a.safetensors", content["model"], {})
    assert same(load_file(tmp_path / "a.safetensors"), content["model"])


@pytest.mark.skipif(sys.platform == "win32", reason="needs limits of resources")
def test_a_full_disk_is_one_line_with_the_room_that_is_needed(tmp_path: Path) -> None:
    code = (
        "import pathlib, resource, signal, sys, torch\n"
        "from mscl.models.weight_files import write_checkpoint\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))\n"
        "try:\n"
        "    write_checkpoint(pathlib.Path(sys.argv[1]), {'model': {'a': torch.zeros(1_000_000)}})\n"
        "except ValueError as error:\n"
        "    print(error)\n"
    )
    path = tmp_path / "step-1.pt"
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    said = done.stdout.strip()
    assert "\n" not in said and f"cannot write {path}: File too large; it takes 4.0 MB" in said
    assert list(tmp_path.iterdir()) == []
