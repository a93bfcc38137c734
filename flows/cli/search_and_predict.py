"""Commands that look at videos of one's own: search in an indexed set, predict with a fine-tuned classifier."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from flows.cli.options import WorkspaceOption, at_home, int_option
from flows.printing import print_line, print_table, visible
from mscl.devices import resolve_device
from storage.errors import StorageError

if TYPE_CHECKING:
    from mscl.embedding.index import Index
    from mscl.finetune.predict import Prediction
    from mscl.report.video_pages import Look
    from storage.result_folder import Result

console = Console()
_SOME_FAILED = 1

VideoFiles = Annotated[list[Path], typer.Argument(metavar="VIDEO...", help="Video files.", callback=at_home)]
KeyOption = Annotated[str, typer.Option(help="Key of a result to use; without it the latest.")]
DeviceOption = Annotated[str, typer.Option(help="auto, cpu or cuda.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]
OpenOption = Annotated[bool, typer.Option("--open", help="Show the page in the browser.")]


def register(app: typer.Typer) -> None:
    """Add the commands to `app`."""
    for command in (search, predict):
        app.command()(command)


def search(
    videos: VideoFiles,
    k: Annotated[int, int_option("--k", "-k", least=1, help="Neighbours per video.")] = 10,
    workspace: WorkspaceOption = Path("workspace"),
    key: KeyOption = "",
    out: Annotated[
        Path | None,
        typer.Option(
            help="Page with the neighbours as thumbnails; else search.html, where that can be written.",
            callback=at_home,
        ),
    ] = None,
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
    show: OpenOption = False,
) -> None:
    """Nearest neighbours of video files in the set that `embed` has indexed.

    Exit code 1 if a video could not be read; the others are searched for all the same.
    """
    from flows.progress import ConsoleProgress

    progress = ConsoleProgress(console)
    progress.start("Searching", None, "")
    from mscl.embedding.index import open_index
    from mscl.video.file_clips import readable
    from storage.workspace import Workspace

    index = open_index(Workspace(workspace), key)
    good, failed = readable(videos)
    neighbours = index.search(good, k=k, device=resolve_device(device, setting="--device"))
    failed |= neighbours.queries.failed
    pairs = list(zip(neighbours.queries.videos, neighbours.found, strict=True))
    page, refused = None, None
    if pairs:  # an earlier page is worth more than an empty one
        try:  # before anything is printed, which may go to a pipe that ends early
            page = _search_page(out or Path("search.html"), index, pairs, failed)
        except StorageError as error:
            refused = error
    progress.done()
    if as_json:
        rows: list[dict[str, Any]] = [
            {
                "video": str(video),
                "neighbours": [
                    {
                        "cosine": round(one.similarity, 6), "class": str(index.manifest.row(one.row).class_name),
                        "path": str(index.path(one.row)), "segment": one.segment_id,
                    }
                    for one in found
                ],
            }
            for video, found in pairs
        ]  # fmt: skip
        _print_json([*rows, *_failures(failed)])
    else:
        for video, found in pairs:
            _print_name(video)
            neighbour_rows: list[tuple[object, ...]] = []
            for rank, one in enumerate(found, 1):
                path = f"{index.manifest.row(one.row).video}{_part(one.segment_id)}"
                name = str(index.manifest.row(one.row).class_name) or "–"
                neighbour_rows.append((rank, f"{one.similarity:.4f}", name, path))
            print_table(console, ("rank", "cosine", "class", "path"), neighbour_rows)
        print_line(console, f"Searched     {len(index.features.ids)} segments of {index.root}")
    if refused is not None and out is not None:
        raise refused
    if refused is not None:
        print_line(Console(stderr=True), f"mscl: no page: {refused}; --out names another place", style="yellow")
    if page is not None and not as_json:
        print_line(console, f"Page         {page}")
    _finish(failed, page if show else None)


def predict(
    videos: VideoFiles,
    k: Annotated[int, int_option("--k", "-k", least=1, help="Classes per video.")] = 5,
    grad_cam: Annotated[bool, typer.Option("--grad-cam", help="Show where the classifier looked.")] = False,
    flow: Annotated[bool, typer.Option("--flow", help="Show the flow of the clip in colour.")] = False,
    workspace: WorkspaceOption = Path("workspace"),
    key: KeyOption = "",
    out: Annotated[Path, typer.Option(help="Folder of the pictures and their page.", callback=at_home)] = Path(
        "predictions"
    ),
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
    show: OpenOption = False,
) -> None:
    """Classes of video files, by the classifier that `finetune` has trained.

    With --grad-cam or --flow, a picture per video and a page of all are written. Exit code 1 if a video could not
    be read; the others go on.
    """
    from flows.progress import ConsoleProgress

    progress = ConsoleProgress(console)
    progress.start("Classifying", None, "")
    from mscl.finetune.classifier import load_classifier
    from mscl.finetune.predict import Prediction, explain, predict_videos
    from mscl.report.video_pages import Look, prediction_page, write_picture
    from mscl.stage.latest import latest_of
    from mscl.video.file_clips import readable
    from storage.verify import refuse_changed
    from storage.workspace import Workspace

    result = latest_of(Workspace(workspace), "finetune", key)
    refuse_changed(result)
    trained = load_classifier(result.folder / "classifier.safetensors", own_code=True)
    good, reasons = readable(videos)
    place = resolve_device(device, setting="--device")
    said = {one.video: one for one in predict_videos(trained, good, best=k, device=place)}
    said |= {video: Prediction(video, failed=reason) for video, reason in reasons.items()}
    looks: list[Look] = []
    pictures: dict[Path, Path] = {}
    names = _file_names(videos)
    for video in dict.fromkeys(videos):
        found = said[video]
        if found.failed or not (grad_cam or flow):
            looks.append(Look(found))
            continue
        label = trained.classes.index(found.classes[0])
        looks.append(Look(found, explain(trained, video, label=label, heat=grad_cam, flow=flow)))
        pictures[video] = write_picture(out / f"{names[video]}.png", looks[-1])
    page = None
    if grad_cam or flow or show:
        about = f"classifier {result.key}, {len(trained.classes)} classes"
        page = prediction_page(out / "index.html", looks, about=about).resolve()
    failed = {look.prediction.video: look.prediction.failed for look in looks if look.prediction.failed}
    progress.done()
    if as_json:
        _print_json(
            [_as_json(look.prediction, pictures) for look in looks if not look.prediction.failed] + _failures(failed)
        )
    else:
        for look in looks:
            if not look.prediction.failed:
                _print_prediction(look.prediction, pictures)
        print_line(console, f"Classifier   {result.folder}{_which_run(result)}")
        if page is not None:
            print_line(console, f"Page         {page}")
    _finish(failed, page if show else None)


def _which_run(result: Result) -> str:
    """Which of several trainings the classifier comes from."""
    runs = result.record.metrics.get("runs", [])
    if len(runs) < 2:
        return ""
    return f", split {runs[0]['split']}, seed {runs[0]['seed']}, the first of {len(runs)} trainings"


def _search_page(out: Path, index: Index, pairs: Sequence[tuple[Path, Any]], failed: dict[Path, str]) -> Path:
    from mscl.extract.segment_pictures import SegmentPictures
    from mscl.report.video_pages import search_page
    from storage.layout import Ingested

    gap_frames = index.encoder_input.recipe.gap_frames
    pictures = SegmentPictures(Ingested(index.ingest.folder).manifest_path, index.extract.folder, gap_frames)
    about = f"{len(index.features.ids)} segments of {index.root}"
    queries = [(video, index.clip_of(video), found) for video, found in pairs]
    return search_page(out, queries, pictures, failed=failed, about=about).resolve()


def _print_prediction(said: Prediction, pictures: dict[Path, Path]) -> None:
    _print_name(said.video)
    table = Table("class", "%", "", box=None)
    for name, probability in zip(said.classes, said.probabilities, strict=True):
        table.add_row(
            Text(visible(name)), f"{100 * probability:.1f}", ProgressBar(total=1, completed=probability, width=24)
        )
    console.print(table)
    if said.video in pictures:
        print_line(console, f"  picture {pictures[said.video]}")


def _print_name(video: Path) -> None:
    """A line of its own, never wrapped, over the video's table."""
    print_line(console, str(video), style="italic")


def _as_json(said: Prediction, pictures: dict[Path, Path]) -> dict[str, Any]:
    pairs = zip(said.classes, said.probabilities, strict=True)
    shown = {"picture": str(pictures[said.video])} if said.video in pictures else {}
    classes = [{"class": name, "probability": round(probability, 6)} for name, probability in pairs]
    return {"video": str(said.video), "classes": classes} | shown


def _failures(failed: dict[Path, str]) -> list[dict[str, Any]]:
    return [{"video": str(video), "error": reason} for video, reason in failed.items()]


def _print_json(rows: list[dict[str, Any]]) -> None:
    typer.echo(json.dumps(rows, indent=1))


def _finish(failed: dict[Path, str], page: Path | None) -> None:
    """Open the page where it is asked for; say what failed, and leave with a code that tells."""
    for video, reason in failed.items():
        print_line(Console(stderr=True), f"mscl: {video}: could not be read: {reason}", style="red")
    if page is not None:
        typer.launch(page.as_uri())
    if failed:
        raise typer.Exit(_SOME_FAILED)


def _part(segment_id: str) -> str:
    """Which part of a long video a segment is; nothing for the first, which most videos are all of."""
    number = segment_id.rpartition("#")[2]
    return f" (part {int(number) + 1})" if number.isdigit() and int(number) else ""


def _file_names(videos: Sequence[Path]) -> dict[Path, str]:
    """A file name per video, different even where folders hold videos of the same name, and on any disk."""
    taken: set[str] = set()

    def free(stem: str) -> Iterator[str]:
        yield stem
        yield from (f"{stem}-{number}" for number in range(2, len(videos) + 2))

    names: dict[Path, str] = {}
    for video in dict.fromkeys(videos):
        names[video] = next(name for name in free(video.stem) if name.casefold() not in taken)
        taken.add(names[video].casefold())
    return names
