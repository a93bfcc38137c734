r"""Names that are meant to harm, of folders, videos and classes, through every verb that prints or reads them.

    python -m tests.faults.hostile_names

`[brackets]` are no markup, `\x1b` and line breaks reach no terminal, and nothing ends in a traceback.
"""

from __future__ import annotations

import csv
import sys
import tempfile
import unicodedata
from collections.abc import Callable
from pathlib import Path

from mscl.config import load_config
from mscl.demo.dataset import write_demo_dataset
from mscl.pipeline import run_pipeline
from storage.workspace import Workspace
from tests.faults.in_process import command
from tests.tiny import FINETUNE, TINY

Say = Callable[[str], None]
ROOT = "v [dim]#1[/dim] \x1b]0;root\x07 caf\u00e9"
CLASSES = ("Moving [something] [dim]a[bold] \x1b[31mright", "#left, 'a\nb' \u202eturned")
NAMES = (
    "#cats/title [dQw4w9WgXcQ].mp4", "[/b]x.mp4", "[bold]dogs[/bold]/1 [/].mp4", "escape \x1b]0;title\x07\x1b[2J.mp4",
    "line\nbreak\r.mp4", " blanks  and\ttabs .mp4", "-rf.mp4", unicodedata.normalize("NFD", "d\u00e9compos\u00e9.mp4"),
    "compos\u00e9.mp4", "'quotes' \"double\", and $(comma).mp4", "%s {0} \\n.mp4", "link[link=file:///x]y[/link].mp4",
)  # fmt: skip
"""As many as the tiny dataset has videos."""


def write(folder: Path) -> Path:
    """The tiny dataset in class folders and files of these names, and the configuration over it; returns the latter."""
    plain = write_demo_dataset(folder / "plain", train_per_class=4, test_per_class=2).videos
    sources = [sorted((plain / kind).iterdir()) for kind in ("MoveRight", "MoveLeft")]
    for number, name in enumerate(NAMES):
        source = sources[number % 2][number // 2]
        path = folder / ROOT / CLASSES[number % 2] / name
        path = path.with_name(("test " if "_g02_" in source.name else "") + path.name)
        path.parent.mkdir(parents=True, exist_ok=True)
        source.rename(path)
    path = folder / "[b]tiny[/b] \x1b[31m.yaml"
    text = TINY.format(root="ROOT").replace("data: {root: ROOT, classes: [MoveRight, MoveLeft]}\n", "")
    assert "ROOT" not in text
    path.parent.mkdir()
    path.write_text(text)
    return path


def write_list(folder: Path) -> Path:
    """A list of the same videos with classes of which a folder cannot have the names; names are composed in it."""
    with (folder / "lists [x].csv").open("w", newline="") as out:
        rows = csv.writer(out, quoting=csv.QUOTE_ALL)
        rows.writerow(["path", "split", "class"])
        for number, path in enumerate(sorted((folder / ROOT).rglob("*.mp4"))):
            if "\n" not in (name := path.relative_to(folder / ROOT).as_posix()):
                listed = unicodedata.normalize("NFC", name)
                rows.writerow([listed, ("train", "test")[number % 3 == 0], ("[/b] [red]", "\x1b[31m, /up")[number % 2]])
    return folder / "lists [x].csv"


def walk(folder: Path, *, say: Say) -> int:
    """Every verb over a workspace of such names; how many. AssertionError where one lets a name out."""
    config = write(folder)
    place = folder / "work [/b] \x1b[31m #1"
    given = [*FINETUNE, f"data.root={folder / ROOT}", "data.test_pattern=test *"]
    at = ("--workspace", place)
    run_pipeline(Workspace(place), load_config(str(config), given))
    results = {result.record.stage: result.key for result in Workspace(place).results()}
    videos = sorted((folder / ROOT).rglob("*.mp4"))[:5]
    lost = folder / "lost [/b] \x1b[31m.mp4"
    wrong: list[str] = []
    tried = 0

    def look(*arguments: str | Path, code: int = 0, shows: str = "") -> str:
        nonlocal tried
        tried += 1
        shown = " ".join(map(str, arguments))[:120]
        try:
            found, out, err = command(*arguments)
        except Exception as error:
            wrong.append(f"{shown!r}: {type(error).__name__}: {str(error)[:300]}")
            return ""
        said = out + err
        hidden = [char for char in said if not char.isprintable() and char not in "\n"]
        if found != code or hidden or "Traceback" in said or shows not in said:
            wrong.append(f"{shown!r}: code {found}, {hidden[:5]}, shows {shows in said}: {said[-700:]!r}")
        return said

    look("run", config, *given, "--no-prefect", *at)
    look("run", config, *given, "--no-prefect", *at, "--force", "report")
    look("run", config, *given, "--no-prefect", *at, "data.root=" + str(folder / "gone [/b] \x1b[2J"), code=2)
    look("run", config, *given, "--no-prefect", *at, "data.classes=[a [/b] \x1b[2J]", code=2)
    look("run", folder / "no [/b] \x1b[2J.yaml", *at, code=2)
    for stage in ("retrieve", "report"):
        look("stage", stage, config, *given, *at, "--force")
    named = (f"data.root={folder / ROOT}", f"data.annotations={write_list(folder)}", "--workspace", folder / "listed")
    look("stage", "ingest", config, *named)
    look("ls", "--workspace", folder / "listed")
    (listed,) = Workspace(folder / "listed").results()
    look("show", listed.key, "--workspace", folder / "listed", shows="[something]")
    look("stage", "no [/b] \x1b[2J", config, *given, *at, code=2)
    look("config", config)
    look("config", config, *given, "--changed")
    look("ls", *at)
    for key in results.values():
        look("show", key, *at)
    look("show", "no [/b] \x1b[2J", *at, code=2)
    look("lineage", results["report"], *at)
    look("verify", *at)
    look("verify", results["extract"], *at)
    look("gc", *at)
    look("search", *videos, *at, shows="[dQw4w9WgXcQ]")
    look("search", *videos, "--json", *at)
    look("search", lost, *at, code=1, shows="lost [/b] \\x1b[31m")
    look("predict", *videos, *at, "--grad-cam", "--flow", "--out", folder / "pictures [/b] \x1b[2J")
    look("predict", *videos, "--json", *at)
    look("predict", lost, *at, code=1, shows="lost [/b] \\x1b[31m")
    look("motion", "scores", *at, shows="[dQw4w9WgXcQ]")
    look("motion", "scores", *at, "--out", folder / "scores [bold] \x1b[2J.csv")
    look("motion", "scores", *at, "--out", folder / "scores [bold] \x1b[2J.parquet")
    look("export", results["embed"], folder / "out [/b] \x1b[2J.safetensors", *at)
    look("export", folder / "no [/b] \x1b[2J.pt", folder / "out.safetensors", *at, code=2)
    look("verify", "--repair", *at)
    look("rm", results["ingest"], *at)
    look("rm", "no [/b] \x1b[2J", *at, code=2)
    look("gc", "--unfinished", *at)
    say(f"{tried} commands over hostile names, {len(wrong)} wrong")
    assert not wrong, "\n".join(wrong)
    return tried


def main() -> int:
    """Walk."""
    with tempfile.TemporaryDirectory(prefix="mscl-names-") as name:
        walk(Path(name), say=print)
    return 0


if __name__ == "__main__":
    sys.exit(main())
