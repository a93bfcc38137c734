"""`report.html`: everything that a run found on one page that needs no network."""

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from mscl.display import blocks as block_kinds
from mscl.display.blocks import Block, Chart, Code, PageSection, Table, attempt
from mscl.display.style import data_address, for_page
from mscl.report.lineage import lineage_graph, sizes_table, time_and_disk
from mscl.report.results import Results
from mscl.score.figures import score_bars
from mscl.score.scores import Score
from mscl.stage.contract import Stage
from mscl.stage.view import Stages, StageView, by_stage, plain_metrics
from storage.atomic import write_atomic
from storage.record import short_key

if TYPE_CHECKING:
    from jinja2 import Template
    from markupsafe import Markup


def build_report(views: Sequence[StageView], out: Path, *, stages: Sequence[Stage], title: str = "MSCL") -> Path:
    """Write the page of these results to `out` in one step, and return `out`.

    Results may be missing; a picture that cannot be drawn becomes a sentence that says why.

    Args:
        stages: the stages to show, in this order; each says itself what it has to show.
    """
    found = by_stage(views, [stage.name for stage in stages])
    sections = [_results(found), *_stage_sections(found, stages), *_about(found)]
    finished = max((view.created_at for view in found.values()), default="")[:16].replace("T", " ")
    finished = f"{finished} UTC" if finished else ""
    return write_page(
        out, sections, title=title, cards=Results.of(found).cards(), about=_dataset(found), finished=finished
    )


def write_page(
    out: Path,
    sections: Sequence[PageSection],
    *,
    title: str,
    about: str = "",
    finished: str = "",
    cards: Sequence[Mapping[str, str]] = (),
) -> Path:
    """Write sections as one self-contained page, in one step, and return `out`; empty sections are left out.

    Args:
        about: what the page is of, under the title.
        finished: a date, beside it.
        cards: `title`, `value`, `interval` and `beside` of the numbers to see first.
    """
    shown = [section for section in sections if section.blocks]
    html = _template().render(title=title, cards=cards, sections=shown, finished=finished, dataset=about)
    write_atomic(out, html.encode("utf-8", "backslashreplace"))  # names of files may hold bytes that are no text
    return out


def _results(stages: Stages) -> PageSection:
    results = Results.of(stages)
    blocks: list[Block] = []
    if panels := results.panels():
        chart = score_bars(panels, labels=results.called)
        blocks.append(Chart(chart, caption=_beside(panels)))
    return PageSection("results", "Results", (*blocks, *results.tables()))


def _beside(panels: Mapping[str, Mapping[str, Score]]) -> str:
    """Caption of the first picture."""
    if not any("untrained" in variants for variants in panels.values()):
        return "The encoder beside chance"
    return (
        "The encoder beside the same network untrained, and what is left to it where clips stand still or have lost "
        "their order"
    )


def _stage_sections(views: Stages, stages: Sequence[Stage]) -> Iterable[PageSection]:
    for stage in stages:
        if stage.name in views:
            yield PageSection(stage.name, stage.title or stage.name, tuple(_blocks(stage, views)), stage.lead)


def _blocks(stage: Stage, views: Stages) -> list[Block]:
    if stage.blocks is not None:
        return attempt(f"pictures of {stage.name}", partial(stage.blocks, views))
    plain = plain_metrics(views[stage.name].metrics)
    return [Table(("metric", "value"), tuple(plain))] if plain else []


def _about(stages: Stages) -> Iterable[PageSection]:
    import yaml

    views = list(stages.values())
    if not views:
        return
    yield PageSection(
        "lineage", "Lineage", (
            Chart(lineage_graph(views), caption="Which result was made of which. Arrows that a longer way says "
                  "already are left out"),
            Chart(time_and_disk(views), caption="What each stage took"),
            sizes_table(views),
        ),
    )  # fmt: skip
    settings = [
        Code(yaml.safe_dump(dict(v.config), sort_keys=False, width=100), f"{v.stage} {short_key(v.key)}") for v in views
    ]
    last = max(views, key=lambda view: view.created_at)
    versions = tuple((name, _with_others(name, last, views)) for name in last.versions)
    blocks: list[Block] = [*(block for block in settings if block.text.strip() not in ("", "{}"))]
    if versions:
        blocks.append(
            Table(
                ("", "version"),
                versions,
                words=True,
                caption=f"Software that made {last.stage}, on {last.host or 'this machine'}, and what made others with "
                "another version",
            )
        )
    yield PageSection("settings", "Settings", tuple(blocks), "Everything that decides a result, as it was used.")


def _with_others(package: str, last: StageView, views: Sequence[StageView]) -> str:
    """Version of a package that made the last result, and of those that were made with another, by stage."""
    others: dict[str, list[str]] = {}
    for view in views:
        if (version := view.versions.get(package)) not in (None, last.versions[package]):
            others.setdefault(str(version), []).append(view.stage)
    return "; ".join([last.versions[package], *(f"{', '.join(made)}: {version}" for version, made in others.items())])


def _dataset(stages: Stages) -> str:
    if "ingest" not in stages:
        return ""
    metrics = stages["ingest"].metrics
    root = str(stages["ingest"].config.get("data", {}).get("root", ""))
    parts = ["/".join(Path(root).parts[-2:])] if root else []
    parts += [
        f"{metrics[name]:,} {name}" for name in ("videos", "segments", "classes") if isinstance(metrics.get(name), int)
    ]
    return " · ".join(parts)


def _soft(text: str) -> "Markup":
    """Text that may break inside names such as TurnCounterclockwise or v_TurnLeft_g01, where words begin."""
    from markupsafe import Markup, escape

    return Markup(re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[_/])", "<wbr>", str(escape(text))))


def _template() -> "Template":
    from jinja2 import Environment

    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters["jpeg"] = lambda content: data_address(content, "image/jpeg")
    environment.filters["svg"] = lambda chart: for_page(chart.svg, label=chart.caption)
    environment.filters["soft"] = _soft
    # By the class, so that a name that is gone fails.
    environment.tests["kind"] = lambda block, name: isinstance(block, getattr(block_kinds, name))
    return environment.from_string((files("mscl.report") / "page.html").read_text())
