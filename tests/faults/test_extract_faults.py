"""What happens to the real stage `extract`: kills, a rival, a full disk, damage; and how a user gets well again."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from storage.record import read_record
from storage.verify import verify_result
from storage.workspace import Workspace
from tests.faults import extract_storm as storm
from tests.faults.extract_storm import Prepared
from tests.tiny import copy_stages


@pytest.fixture(scope="module")
def config(tiny: Path) -> Path:
    """Twelve videos, two a shard."""
    return tiny


@pytest.fixture(scope="module")
def prepared(tiny_workspace: Path, tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    """Of the session's workspace what extract reads and what it has made."""
    folder = tmp_path_factory.mktemp("sound")
    base = copy_stages(tiny_workspace, folder / "base", ["ingest"])
    undisturbed = copy_stages(tiny_workspace, folder / "undisturbed", ["ingest", "extract"])
    extracted = storm.result_folder(undisturbed)
    return Prepared(base, undisturbed, storm.digests(extracted), read_record(extracted).timings["seconds"])


@pytest.fixture
def workspace(prepared: Prepared, tmp_path: Path) -> Path:
    """A copy of a finished workspace, to be damaged."""
    shutil.copytree(prepared.undisturbed, tmp_path / "w")
    return tmp_path / "w"


@pytest.fixture
def ingested(prepared: Prepared, tmp_path: Path) -> Path:
    """A copy of a workspace where extract is to run next."""
    shutil.copytree(prepared.base, tmp_path / "w")
    return tmp_path / "w"


def flip(path: Path, *, position: int, bit: int = 3) -> None:
    content = bytearray(path.read_bytes())
    content[position] ^= 1 << bit
    path.write_bytes(content)


def test_killed_at_random_moments_it_resumes_to_the_same_bytes(
    config: Path, prepared: Prepared, tmp_path: Path
) -> None:
    hits = storm.kill_storm(config, prepared, tmp_path, count=2, seed=1, say=lambda _: None)
    assert hits["killed"] == 2


@pytest.mark.storm
def test_fifty_kills(tmp_path: Path) -> None:
    config = storm.write_dataset(tmp_path, per_class=6)
    prepared = storm.prepare(config, tmp_path)
    hits = storm.kill_storm(config, prepared, tmp_path, count=50, seed=0, say=print)
    assert hits["killed"] == 50 and hits["with shards"] > 10 and hits["worker"] > 0


def test_two_at_once_give_one_result(config: Path, ingested: Path, prepared: Prepared) -> None:
    rivals = [storm.start("stage", "extract", config, "--workspace", ingested) for _ in "ab"]
    outputs = [rival.communicate(timeout=300)[0] for rival in rivals]
    assert [rival.returncode for rival in rivals] == [0, 0], outputs
    assert sum("being computed by another process" in output for output in outputs) <= 1
    assert sum("reused" in output for output in outputs) == 1, outputs
    (result,) = Workspace(ingested).results("extract")
    assert storm.digests(result.folder) == prepared.expected
    assert verify_result(result.folder, result.record) == []


def test_damage_is_named_and_just_that_is_repaired(config: Path, workspace: Path, prepared: Prepared) -> None:
    folder = storm.result_folder(workspace)
    flow, frames = folder / "flow.zarr/flow/c.1.0.0.0.0", folder / "frames/00000003.jpegs"
    flip(flow, position=flow.stat().st_size // 2)
    os.truncate(frames, frames.stat().st_size - 100)
    untouched = {path: path.stat().st_mtime_ns for path in folder.rglob("c.[0245]*.0.0.0.0")}
    assert len(untouched) > 2

    code, output = storm.run_here("verify", folder.name[:6], "--workspace", workspace)
    assert code == 1
    (flow_line,) = [line for line in output.splitlines() if "c.1.0.0.0.0" in line]
    assert "field" in flow_line and "of segment" in flow_line
    assert any(word in flow_line.split() for word in ("2", "3"))  # of the two segments of shard 1, the one that is hit
    (frames_line,) = [line for line in output.splitlines() if "00000003.jpegs" in line and "frames" in line]
    assert "6-7" in frames_line
    assert "makes 2 shards (1, 3) and no other again" in output
    (command,) = [line.split() for line in output.splitlines() if line.strip().startswith("mscl verify")]

    assert "damaged" in storm.run_here("ls", "--workspace", workspace)[1]
    code, output = storm.run_here(*command[1:])
    assert code == 0, output
    assert "2 damaged shards are done again" in output or "shards are there already" in output
    assert "is whole again" in output
    assert storm.digests(folder) == prepared.expected
    assert {path: path.stat().st_mtime_ns for path in untouched} == untouched
    code, output = storm.run_here("verify", "--workspace", workspace)
    assert code == 0 and "2 results are whole" in output


@pytest.mark.storm
def test_what_verify_found_is_not_reused_and_the_same_command_mends_it(
    config: Path, workspace: Path, prepared: Prepared
) -> None:
    folder = storm.result_folder(workspace)
    flip(folder / "flow.zarr/flow/c.2.0.0.0.0", position=200)
    (folder / "frames/00000000.jpegs").unlink()
    assert storm.run_here("verify", folder.name, "--workspace", workspace)[0] == 1
    code, output = storm.stage("extract", config, workspace)
    assert code == 0 and "reused" not in output, output
    assert "2 damaged shards are done again: 0, 2" in output
    assert storm.digests(folder) == prepared.expected
    assert storm.run_here("verify", folder.name, "--workspace", workspace)[0] == 0


@pytest.mark.storm
def test_a_damaged_record_costs_no_shard(config: Path, workspace: Path, prepared: Prepared) -> None:
    folder = storm.result_folder(workspace)
    flip(folder / "record.json", position=500, bit=0)
    shards = {path: path.stat().st_mtime_ns for path in [*folder.rglob("c.*.0.0.0.0"), *folder.rglob("*.jpegs")]}
    code, output = storm.run_here("verify", folder.name, "--workspace", workspace)
    assert code == 1 and "record.json" in output and "no shard" in output
    code, output = storm.run_here("verify", folder.name, "--workspace", workspace, "--repair")
    assert code == 0 and "is whole again" in output, output
    assert {path: path.stat().st_mtime_ns for path in shards} == shards
    assert storm.digests(folder) == prepared.expected


def test_shards_lost_between_two_runs_are_done_again(config: Path, workspace: Path, prepared: Prepared) -> None:
    """As after a disk that forgot: nobody has verified anything, the command is just typed again."""
    folder = storm.result_folder(workspace)
    (folder / "record.json").unlink()  # killed before the end
    truncated = folder / "frames/00000001.jpegs"
    os.truncate(truncated, truncated.stat().st_size // 2)
    (folder / "frames/00000002.jpegs").write_bytes(b"")
    (folder / "flow.zarr/flow/c.5.0.0.0.0").unlink()
    code, output = storm.stage("extract", config, workspace)
    assert code == 0, output
    assert "3 damaged shards are done again: 1, 2, 5" in output
    assert storm.digests(folder) == prepared.expected


def test_a_full_disk_is_one_clear_line_and_resuming_completes(config: Path, ingested: Path, prepared: Prepared) -> None:
    sizes = sorted(path.stat().st_size for path in prepared.undisturbed.rglob("c.*.0.0.0.0"))
    code, output = storm.stage("extract", config, ingested, limit_nbytes=sizes[len(sizes) // 2])
    assert code == 2, output
    (line,) = [line for line in output.splitlines() if line.startswith("mscl: ")]
    assert "cannot write" in line and str(ingested) in line and "free space" in line
    assert "Traceback" not in output
    code, output = storm.stage("extract", config, ingested)
    assert code == 0, output
    assert storm.digests(storm.result_folder(ingested)) == prepared.expected


@pytest.fixture
def small_disks(tmp_path: Path) -> Iterator[Path]:
    """A folder to mount file systems of a chosen size under."""
    place = tmp_path / "disk"
    place.mkdir()
    probe = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", place], capture_output=True, check=False)
    if probe.returncode:
        pytest.skip("may not mount a small file system here")
    subprocess.run(["umount", place], check=True)
    yield place
    subprocess.run(["umount", place], check=False, capture_output=True)


@pytest.mark.storm
def test_disks_of_many_sizes_run_full_at_many_places(config: Path, small_disks: Path, prepared: Prepared) -> None:
    """From room for the first folder up to room for all: one clear line, and completion once there is room."""
    total = sum(path.stat().st_size for path in prepared.undisturbed.rglob("*") if path.is_file())
    lines, size = set(), 16 * 1024
    while size < 2.5 * total:
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", small_disks], check=True)
        workspace = small_disks / "w"
        failed = ""
        for name in ("ingest", "extract"):
            code, output = storm.stage(name, config, workspace)
            if code:
                failed = name
                break
        if failed:
            (line,) = [line for line in output.splitlines() if line.startswith("mscl: ")]
            assert code == 2 and "Traceback" not in output, output
            assert "cannot" in line and str(small_disks) in line and "space" in line, line
            lines.add(line.split(";")[0])
            subprocess.run(["mount", "-o", "remount,size=1g", small_disks], check=True)
            for name in ("ingest", "extract"):
                code, output = storm.stage(name, config, workspace)
                assert code == 0, output
        assert storm.digests(storm.result_folder(workspace)) == prepared.expected
        subprocess.run(["umount", small_disks], check=True)
        size = int(size * 1.35)
    print(*sorted(lines), sep="\n")
    assert len(lines) > 3


def test_no_flipped_bit_of_a_result_is_silent(prepared: Prepared, workspace: Path) -> None:
    found = storm.flip_storm(storm.result_folder(workspace), count=30, seed=4, say=lambda _: None)
    assert found["by verify"] == 30


@pytest.mark.storm
def test_two_hundred_flipped_bits(workspace: Path) -> None:
    found = storm.flip_storm(storm.result_folder(workspace), count=200, seed=0, say=print)
    assert found["by verify"] == 200
