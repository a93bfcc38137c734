"""What the motion stage shows: distributions with thresholds, and the segments at the ends of the scale as clips."""

import re
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pytest

from mscl.array_types import Doubles
from mscl.display.blocks import Chart, ContactSheet, FilmSheet, PageSection, Table
from mscl.display.films import MAX_BYTES, film
from mscl.motion.blocks import motion_blocks, screen_blocks
from mscl.motion.scores import score_table
from mscl.report.markdown import markdown_block
from mscl.report.page import write_page
from mscl.stage.view import StageView, stage_view
from storage.layout import Ingested
from storage.manifest import write_table
from storage.motion_store import MotionReader
from tests.mscl.marked_stores import HEIGHT, WIDTH
from tests.mscl.screened_workspace import screened_workspace


@pytest.fixture(scope="module")
def views(tmp_path_factory: pytest.TempPathFactory) -> dict[str, StageView]:
    place = screened_workspace(tmp_path_factory.mktemp("page") / "w")
    screen = place.latest("screen")
    assert screen is not None
    return {result.record.stage: stage_view(result) for result in place.lineage(screen)}


def test_the_slowest_fastest_and_most_camera_driven_are_shown(views: dict[str, StageView], tmp_path: Path) -> None:
    config = {"screen": {"min_motion_px": 0, "min": {"mean_px": 2.5}, "max": {"camera_px": 1.75}}}
    blocks = motion_blocks({**views, "screen": replace(views["screen"], config=config)})
    chart, table, sheet = blocks
    assert isinstance(chart, Chart) and "min 2.5" in chart.svg and "max 1.75" in chart.svg and "max 9" not in chart.svg
    assert isinstance(table, Table) and table.rows[0][3] == "3.5" and isinstance(sheet, FilmSheet)
    captions = {title: [one.caption.partition(" ·")[0] for one in films] for title, films in sheet.rows}
    # Of a video's two segments the first in order is shown.
    assert captions == {
        "The slowest": ["2 px", "4 px", "5 px"],
        "The fastest": ["5 px", "4 px", "3 px"],
        "Most moved by the camera": ["5 px", "4 px", "3 px"],
    }
    first = sheet.rows[0][1][0]
    assert "camera 1, rest 0.5" in first.caption and first.seconds == pytest.approx(12 * 2 / 25)
    strip = cv2.imdecode(np.frombuffer(first.strip_jpeg, np.uint8), cv2.IMREAD_COLOR)
    assert first.num_frames == 12 and strip.shape[1] == 12 * first.step_px - (first.step_px - first.width_px)
    assert first.width_px == round(84 * WIDTH / HEIGHT)

    page = write_page(tmp_path / "page.html", [PageSection("motion", "Motion", tuple(blocks))], title="M").read_text()
    assert page.count('class="film"') == 9 and page.count('tabindex="0" role="img"') == 9
    assert "<img src=x>" not in page and "&lt;img src=x&gt;" in page
    assert re.search(r'aria-label="[^"]*&lt;img src=x&gt;', page)
    markdown = markdown_block(sheet)
    assert markdown.count("data:image/jpeg") == 9 and "<img" not in markdown


def test_a_camera_at_rest_drives_no_clip(views: dict[str, StageView], monkeypatch: pytest.MonkeyPatch) -> None:
    """The stillest clips stood there: what the camera's motion is behind the rest is least where nothing moves."""

    def at_rest(store: MotionReader) -> dict[str, Doubles]:
        scores = score_table(store)
        return {**scores, "camera_px": scores["object_px"] / 2}

    monkeypatch.setattr("mscl.motion.blocks.score_table", at_rest)
    sheet = motion_blocks(views)[-1]
    assert isinstance(sheet, FilmSheet) and [title for title, _ in sheet.rows] == ["The slowest", "The fastest"]
    assert sheet.caption.endswith("The camera moves more than the rest in none of the segments")


def test_a_clip_has_a_bounded_size() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (12, 128, 171, 3), dtype=np.uint8)
    flow = np.random.default_rng(1).normal(0, 5, (12, 128, 171, 2)).astype(np.float32)
    made = film(noise, flow, seconds=1, caption="noise")
    assert len(made.strip_jpeg) <= MAX_BYTES
    wide = film(noise[:, :16], flow[:, :16], seconds=1, caption="wide")
    assert wide.width_px <= 171 and wide.step_px > wide.width_px


def test_a_chart_stays_where_no_clip_can_be_read(views: dict[str, StageView], tmp_path: Path) -> None:
    blocks = motion_blocks({**views, "extract": replace(views["extract"], folder=tmp_path)})
    assert [type(block).__name__ for block in blocks] == ["Chart", "Table", "Note"]


@pytest.mark.parametrize(
    ("select", "cuts", "kept"),
    [("mds", [], "kept · 5 > 2.5"), ("mds", [26], "kept · 5 > 0.5"), ("all", [], "kept · 5")],
)
def test_kept_clips_stand_beside_the_median_that_chose_them(
    tmp_path: Path, select: str, cuts: list[int], kept: str
) -> None:
    """Clips that cross the cut at frame 26 are no candidates: of the scores 0 to 5 the median is that of 0 and 1."""
    place = screened_workspace(tmp_path / "w")
    screen = place.latest("screen")
    assert screen is not None
    views = {result.record.stage: stage_view(result) for result in place.lineage(screen)}
    manifest = Ingested(views["ingest"].folder).manifest()
    at = manifest.table.column_names.index("cuts")
    column = pa.array([cuts, [], [], []], manifest.table.schema.field("cuts").type)
    table = manifest.table.set_column(at, manifest.table.schema.field("cuts"), column)
    write_table(Ingested(views["ingest"].folder).manifest_path, table)
    config = {**views["screen"].config, "screen": {"select": select}}
    blocks = screen_blocks({**views, "screen": replace(views["screen"], config=config)})
    (sheet,) = (block for block in blocks if isinstance(block, ContactSheet))
    (first,) = (cells for title, cells in sheet.rows if title == "pan · a")
    assert first[0].caption == kept and ("above the video's median" in sheet.caption) == (select == "mds")
    assert all(("median" in block.svg) == (select == "mds") for block in blocks if isinstance(block, Chart))
