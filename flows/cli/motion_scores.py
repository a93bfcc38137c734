"""`mscl motion scores`: how much moves in each segment or video, sorted, filtered, and exported for other tools."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.console import Console

from flows.cli import completion
from flows.cli.motion_export import export
from flows.cli.motion_page import page
from flows.cli.options import OfficialSplitOption, WorkspaceOption, at_home, int_option
from flows.printing import print_line, print_table
from mscl.errors import UserError

if TYPE_CHECKING:
    import pyarrow as pa

console = Console()
motion = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="How much moves, and what: the motion stage.")


def register(app: typer.Typer) -> None:
    """Add the commands to `app`."""
    motion.command()(scores)
    motion.command()(page)
    motion.command()(export)
    app.add_typer(motion, name="motion")


def scores(
    workspace: WorkspaceOption = Path("workspace"),
    key: Annotated[
        str, typer.Option(help="Key of a result of motion; without it the latest.", autocompletion=completion.keys)
    ] = "",
    by: Annotated[
        Literal["segment", "video"],
        typer.Option(help="A row each; a video has the mean over its frames, and the largest peak_px."),
    ] = "segment",
    sort: Annotated[
        str, typer.Option(help="mean_px, peak_px, moving, change, camera_px or object_px; the largest first.")
    ] = "mean_px",
    ascending: Annotated[bool, typer.Option("--ascending", help="The smallest first.")] = False,
    min_: Annotated[
        list[str] | None, typer.Option("--min", metavar="SCORE=VALUE", help="Keep what scores this or more.")
    ] = None,
    max_: Annotated[
        list[str] | None, typer.Option("--max", metavar="SCORE=VALUE", help="Keep what scores this or less.")
    ] = None,
    classes: Annotated[list[str] | None, typer.Option("--class", help="Keep this class; once for each.")] = None,
    official_split: OfficialSplitOption = None,
    limit: Annotated[int, int_option(least=0, help="Rows to print; 0: all. Files hold all.")] = 20,
    out: Annotated[
        list[Path] | None,
        typer.Option(
            help="Also write FILE.parquet, FILE.csv, or FILE.txt with a `path label` line a video.", callback=at_home
        ),
    ] = None,
) -> None:
    """Motion scores of segments or videos: list, sort, filter, export.

    px are those of the stored grid. mean_px and peak_px: mean, and largest 99th percentile, of flow; moving: share of
    the pixels that move by over half a px; change: mean motion difference, by which clips are chosen; camera_px: the
    affine motion that most of the picture follows; object_px: what moves without it.
    """
    from mscl.motion.score_list import filtered, score_list, write_list
    from storage.workspace import Workspace

    table, of, note = score_list(Workspace(workspace), key, by=by, official_split=official_split)
    kept = filtered(table, at_least=min_ or [], at_most=max_ or [], classes=classes or [])
    kept = _sorted(kept, sort, ascending=ascending)
    for path in out or []:  # first, for what is printed may go to a pipe that ends early
        write_list(path, kept)
    _print(kept, limit=limit)
    unshown = f", {limit:,} of them shown (--limit 0: all)" if 0 < limit < kept.num_rows else ""
    print_line(console, f"{kept.num_rows:,} of {table.num_rows:,} {by}s of motion {of}{unshown}")
    if note:
        print_line(console, note)
    for path in out or []:
        print_line(console, f"Written      {path}")
        if path.suffix == ".txt" and set(kept.column("split").to_pylist()) - {"train", "unlabelled"}:
            print_line(console, f"{path} says no splits: as data.annotations all of it is train; .csv says them")


def _sorted(table: pa.Table, name: str, *, ascending: bool) -> pa.Table:
    from mscl.motion.scores import NAMES

    if name not in NAMES:
        raise UserError(f"--sort {name}: there is no such score; scores: {', '.join(NAMES)}")
    return table.sort_by([(name, "ascending" if ascending else "descending")])


def _print(table: pa.Table, *, limit: int) -> None:
    shown = table.slice(0, limit or table.num_rows)
    rows: list[dict[str, Any]] = shown.to_pylist()
    from mscl.motion.scores import NAMES

    one = "video" if "segment_id" not in table.column_names else "segment_id"
    # Class folders say it already, and a terminal has 80 columns.
    said = all(str(row[one]).startswith(f"{row['class']}/") for row in rows)
    columns = (one, *(() if said else ("class",)), *NAMES)
    head = (one.removesuffix("_id"), *columns[1:])
    print_table(console, head, [[_cell(row[name]) for name in columns] for row in rows])


def _cell(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
