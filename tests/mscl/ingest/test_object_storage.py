"""Datasets in object storage, read from a real S3 server on loopback."""

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from mscl.config import ExperimentConfig, load_config
from mscl.errors import DataError
from mscl.extract.stage import EXTRACT
from mscl.ingest import bucket
from mscl.ingest.annotations import lists_at_hand, read_annotations
from mscl.ingest.bucket import forget_listings
from mscl.ingest.config import DataConfig
from mscl.ingest.stage import INGEST
from mscl.motion.motion_stage import MOTION
from mscl.pipeline import Outcome, execute
from mscl.progress import Progress, Silent
from mscl.video import object_storage
from storage.layout import Ingested
from storage.workspace import Workspace
from tests.mscl.s3_server import BUCKET, KEY_ID, SECRET, S3Server
from tests.mscl.written_videos import gradient_frames, write_frames

VIDEOS = ("a/1.mp4", "a/2 of two.mp4", "b/3.mp4", "b/4.mp4")


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four videos of two classes, one file that is none, and lists beside them."""
    folder = tmp_path_factory.mktemp("dataset")
    for place, name in enumerate(VIDEOS):
        write_frames(folder / "videos" / name, gradient_frames(12, width=64 + 16 * place))
    (folder / "videos" / "b" / "5.mp4").write_bytes(bytes(range(256)) * 8)
    (folder / "lists").mkdir()
    (folder / "lists" / "train.csv").write_text("path,label\na/1.mp4,a\nb/3.mp4,b\nb/5.mp4,b\n")
    (folder / "lists" / "test.csv").write_text("path,label\na/2 of two.mp4,a\nb/4.mp4,b\nb/gone.mp4,b\n")
    return folder


@pytest.fixture(scope="module")
def one_server() -> Iterator[S3Server]:
    found = S3Server()
    yield found
    found.close()


@pytest.fixture
def server(one_server: S3Server, videos: Path, monkeypatch: pytest.MonkeyPatch) -> S3Server:
    """A server with these videos at s3://dataset/set."""
    monkeypatch.setattr(object_storage, "_PAUSES_SECONDS", (0.01,) * 5)
    monkeypatch.setattr(bucket, "_FRESH_SECONDS", 1e9)  # on a machine that is busy, too
    for name, value in one_server.variables().items():
        monkeypatch.setenv(name, value)
    one_server.begin_again()
    forget_listings()
    one_server.upload(videos, "set")
    one_server.fetched()
    return one_server


ROOT, LISTS = f"s3://{BUCKET}/set/videos", f"s3://{BUCKET}/set/lists"


def in_this_process(
    function: Callable[[Any, Any], Any], items: Sequence[Any], *, progress: Progress, gpus: Sequence[int] = ()
) -> Iterator[Any]:
    """Shards one after the other: a process of its own would load PyTorch."""
    for item in items:
        yield function(item, progress.advance)


def config_of(tmp_path: Path, root: Path | str, *overrides: str) -> ExperimentConfig:
    plain = ["runtime.workers=1", "flow.method=farneback", f"runtime.video_cache={tmp_path / 'cache'}"]
    return load_config("demo", [f"data.root={root}", *plain, *overrides])


def run(
    config: ExperimentConfig, workspace: Path, *stages: Any, progress: Progress | None = None
) -> dict[str, Outcome]:
    """The stages in order; what each left."""
    done: dict[str, Outcome] = {}
    forget_listings()
    for stage in stages:
        inputs = {name: outcome.result for name, outcome in done.items() if name in stage.needs}
        done[stage.name] = execute(
            stage, Workspace(workspace), config, inputs, spread=in_this_process, progress=progress or Silent()
        )
    return done


def test_a_dataset_in_a_bucket_is_the_dataset_that_was_copied_there(
    server: S3Server, videos: Path, tmp_path: Path
) -> None:
    stages = (INGEST, EXTRACT, MOTION)
    here = run(config_of(tmp_path, videos / "videos", f"data.annotations={videos / 'lists'}"), tmp_path / "w", *stages)
    config = config_of(tmp_path, ROOT)  # its lists are found beside it
    there = run(config, tmp_path / "w3", *stages)
    for name, outcome in here.items():
        assert there[name].result.key == outcome.result.key
        assert there[name].result.record.files == outcome.result.record.files, name
    record = there["ingest"].result.record
    assert record.config["data"]["root"] == ROOT
    theirs, ours = record.metrics, here["ingest"].result.record.metrics
    assert theirs["notes"][0].startswith("plain lists of s3://dataset/set/lists, beside data.root: test.csv (3 test)")
    assert theirs | {"notes": theirs["notes"][1:]} == ours | {"notes": ours["notes"][1:]}
    assert record.metrics["verdicts"] == {"ok": 4, "unreadable": 1} and record.metrics["missing"] == 1
    asked = [path for _, path in server.asked]
    assert sum("prefix=set%2Fvideos%2F" in path for path in asked) == 1
    assert server.fetched() == sorted(["5.mp4", *(Path(name).name for name in VIDEOS)])

    forget_listings()  # as another process would
    assert all(run(config, tmp_path / "w3", *stages)[stage.name].reused for stage in stages)
    assert not any(path.endswith("?part") for _, path in server.asked), "what an object is was looked up again"
    moved = run(config_of(tmp_path, videos / "videos", f"data.annotations={LISTS}"), tmp_path / "w3", *stages)
    assert all(outcome.reused for outcome in moved.values())
    for path in [path for path in tmp_path.rglob("*") if path.is_file()]:
        content = path.read_bytes()
        assert KEY_ID.encode() not in content and SECRET.encode() not in content, path


def test_an_object_that_vanishes_is_a_missing_video(server: S3Server, tmp_path: Path) -> None:
    config = config_of(tmp_path, ROOT)
    gone = "set/videos/a/1.mp4"

    class Vanishes(Silent):
        def start(self, title: str, total: int | None, unit: str) -> None:
            if title.startswith("Looking at videos"):  # it was listed, and is not there when it is wanted
                server.client.delete_object(Bucket=BUCKET, Key=gone)

    done = run(config, tmp_path / "w", INGEST, progress=Vanishes())
    rows = {row.video: row for row in Ingested(done["ingest"].result.folder).manifest().rows()}
    assert (rows["a/1.mp4"].verdict, rows["a/1.mp4"].reason) == ("missing", "no such file")
    server.client.delete_object(Bucket=BUCKET, Key="set/videos/b/3.mp4")
    with pytest.raises(DataError, match=f"{ROOT}/b/3.mp4 is gone or empty, and had .* run ingest again"):
        execute(EXTRACT, Workspace(tmp_path / "w"), config, {"ingest": done["ingest"].result}, spread=in_this_process)
    # Another object of that name is not taken for it, though it has the same size.
    size = rows["b/3.mp4"].size_bytes
    server.client.put_object(Bucket=BUCKET, Key="set/videos/b/3.mp4", Body=b"x" * size)
    with pytest.raises(DataError, match=f"{ROOT}/b/3.mp4 is not the file that was ingested"):
        execute(EXTRACT, Workspace(tmp_path / "w"), config, {"ingest": done["ingest"].result}, spread=in_this_process)


def test_a_busy_server_is_waited_for_and_one_that_stays_so_loses_nothing(server: S3Server, tmp_path: Path) -> None:
    config = config_of(tmp_path, ROOT)

    class Watch(Silent):
        looked_at = 0

        def start(self, title: str, total: int | None, unit: str) -> None:
            server.busy = 3

        def advance(self, n: int = 1, **_: float | str) -> None:
            self.looked_at += n

    server.busy, server.videos_left = 2, 2
    with pytest.raises(DataError) as refused:
        run(config, tmp_path / "w", INGEST, progress=(first := Watch()))
    assert f"data.root {ROOT}/" in str(refused.value) and "does not answer" in str(refused.value)
    assert "\n" not in str(refused.value) and first.looked_at <= 2
    server.busy, server.videos_left = 0, 3
    done = run(config, tmp_path / "w", INGEST, progress=(second := Watch()))
    assert first.looked_at + second.looked_at == 5
    assert done["ingest"].result.record.metrics["verdicts"] == {"ok": 4, "unreadable": 1}


def test_a_small_cache_is_kept_small_and_what_it_lost_comes_again(
    server: S3Server, videos: Path, tmp_path: Path
) -> None:
    sizes = {name: (videos / "videos" / name).stat().st_size for name in VIDEOS}
    biggest = max(2_048, *sizes.values())  # as large as another: one at a time fits
    config = config_of(tmp_path, ROOT, f"runtime.video_cache_gb={1.2 * biggest / 1e9}")
    run(config, tmp_path / "w", INGEST, EXTRACT)
    kept = [path for path in (tmp_path / "cache").iterdir() if not path.name.startswith(".")]
    assert sum(path.stat().st_size for path in kept) <= 1.2 * biggest
    names = server.fetched()
    assert len(names) > 5 and set(names) == {"5.mp4", *(Path(name).name for name in VIDEOS)}
    too_small = config_of(tmp_path, ROOT, f"runtime.video_cache_gb={0.9 * biggest / 1e9}")
    with pytest.raises(DataError, match=r"runtime.video_cache_gb is .*; raise it"):
        run(too_small, tmp_path / "w2", INGEST)


def test_lists_in_the_bucket_are_called_by_their_addresses(server: S3Server, videos: Path, tmp_path: Path) -> None:
    put = server.client.put_object
    put(Bucket=BUCKET, Key="set/videos/train.csv", Body=b"path,label\na/1.mp4,a\nb/3.mp4,b\n")
    put(Bucket=BUCKET, Key="set/videos/more/test.csv", Body=b"path,label\nb/4.mp4,b\n")
    done = run(config_of(tmp_path, ROOT), tmp_path / "w", INGEST)
    metrics = done["ingest"].result.record.metrics
    assert metrics["format"] == "list" and metrics["videos"] == 2
    put(Bucket=BUCKET, Key="set/lists/odd.csv", Body=b"path,label\na/1.mp4,a\nb/3.mp4\n", ACL="public-read")
    put(Bucket=BUCKET, Key="set/lists/groups.csv", Body=b"video,group\n")
    for annotations, said in (
        (f"{LISTS}/odd.csv", f"{LISTS}/odd.csv, line 3: 'b/3.mp4' has 1 columns"),
        (f"{LISTS}/none.csv", f"data.annotations {LISTS}/none.csv does not exist"),
        (f"s3://{BUCKET}x/lists", f"data.annotations s3://{BUCKET}x/lists does not exist"),
        (f"{server.url}/{BUCKET}/set/lists/odd.csv", f"{server.url}/{BUCKET}/set/lists/odd.csv, line 3"),
    ):
        with pytest.raises(DataError) as refused:
            run(config_of(tmp_path, ROOT, f"data.annotations={annotations}"), tmp_path / "w", INGEST)
        assert str(refused.value).startswith(said), refused.value
    for root, said in (
        (f"s3://{BUCKET}/nothing", "holds nothing"),
        (f"{ROOT}/a/1.mp4", "is one object"),
        (f"s3://{BUCKET}x/a", "does not exist"),
    ):
        with pytest.raises(DataError, match=f"data.root {root} {said}"):
            run(config_of(tmp_path, root), tmp_path / "w", INGEST)


def test_more_than_can_be_looked_at_is_said_or_refused(server: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lists_at_hand, "_MOST_FOLDERS", 0)
    server.client.put_object(Bucket=BUCKET, Key="set/videos/jump/x.h264", Body=b"x")
    found = read_annotations(DataConfig(root=ROOT))
    assert found.format == "folders" and len(found.samples) == 5
    assert found.notes[0].startswith(f"lists were not looked for in the 1 folders beside data.root {ROOT}; name them")
    assert any("are no classes: jump (1 .h264)" in note for note in found.notes)
    monkeypatch.setattr(lists_at_hand, "_MOST", 1)
    with pytest.raises(
        DataError, match=f"data.annotations {LISTS} holds 2 files of the types .txt, .csv, .tsv, .json, "
    ):
        read_annotations(DataConfig(root=ROOT, annotations=LISTS))


def test_a_web_server_says_what_it_has_in_a_file(server: S3Server, videos: Path, tmp_path: Path) -> None:
    names = "".join(f"{name}\n" for name in (*VIDEOS, "b/5.mp4", "b/gone.mp4"))
    server.client.put_object(Bucket=BUCKET, Key="set/videos/videos.txt", Body=names.encode(), ACL="public-read")
    root = f"{server.url}/{BUCKET}/set/videos/videos.txt"
    done = run(config_of(tmp_path, root), tmp_path / "w", INGEST, EXTRACT)
    record = done["ingest"].result.record
    assert record.config["data"]["root"] == root
    assert record.metrics["verdicts"] == {"ok": 4, "unreadable": 1, "missing": 1}
    copy = shutil.copytree(videos / "videos", tmp_path / "copy" / "videos")
    os.symlink("nowhere", copy / "b" / "gone.mp4")
    assert run(config_of(tmp_path, copy), tmp_path / "w", INGEST)["ingest"].reused
