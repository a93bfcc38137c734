"""Of a whole run: which result was made of which, and what each took in time and space."""

from collections.abc import Mapping, Sequence

from mscl.display.amounts import byte_size
from mscl.display.blocks import Table
from mscl.display.style import BLUE, INK, ORANGE, canvas, to_svg
from mscl.stage.view import RESUMED, StageView
from storage.record import short_key


def lineage_graph(views: Sequence[StageView]) -> str:
    """Results as boxes, inputs above what reads them.

    An arrow is left out where a longer way says it already (ingest is read by nearly every stage).
    """
    from matplotlib.patches import FancyBboxPatch

    nodes = {view.stage: view for view in views}
    parents = {name: {p for p in view.inputs if p in nodes} for name, view in nodes.items()}
    arrows = [(p, name) for name in nodes for p in sorted(_direct(parents, name))]
    level = {name: _depth(parents, name) for name in nodes}
    levels = max(level.values(), default=0) + 1
    for name in nodes:  # what nobody else reads hangs as low as the lowest such
        if not any(name in of for of in parents.values()):
            level[name] = levels - 1
    place: dict[str, tuple[float, float]] = {}
    for depth in reversed(range(levels)):
        # Beside each other in the order in which their inputs lie, the nearest input first.
        row = sorted(
            (n for n in nodes if level[n] == depth), key=lambda n: -max((level[p] for p in parents[n]), default=0)
        )
        for position, name in enumerate(row):
            place[name] = ((position + 0.5) / len(row), -float(depth))
        if len(row) == 1:  # above what is made of it at once: arrows to what lies deeper then pass beside that
            below = [place[c][0] for p, c in arrows if p == row[0] and level[c] == depth + 1]
            place[row[0]] = (sum(below) / len(below) if below else 0.5, -float(depth))
    with canvas(0.62 * levels + 0.1) as figure:
        axis = figure.subplots()
        axis.axis("off")
        axis.set_xlim(0, 1)
        axis.set_ylim(-levels + 0.5, 0.5)
        for parent, child in arrows:
            (x0, y0), (x1, y1) = place[parent], place[child]
            axis.annotate(
                "", (x1, y1 + 0.33), (x0, y0 - 0.31),
                arrowprops={"arrowstyle": "-|>,head_width=0.18,head_length=0.35", "color": INK, "alpha": 0.55,
                            "linewidth": 0.9, "shrinkA": 0, "shrinkB": 0},
            )  # fmt: skip
        for name, (x, y) in place.items():
            view = nodes[name]
            box = FancyBboxPatch(
                (x - 0.15, y - 0.29), 0.30, 0.58, boxstyle="round,pad=0,rounding_size=0.02", mutation_aspect=4,
                facecolor=f"{BLUE}26", edgecolor=BLUE, linewidth=0.9,
            )  # fmt: skip
            axis.add_patch(box)
            axis.text(x, y + 0.11, name, ha="center", va="center", fontweight="bold", fontsize=9)
            small = f"{short_key(view.key)}  ·  {view.took}"
            axis.text(x, y - 0.13, small, ha="center", va="center", fontsize=7.5, alpha=0.8)
        return to_svg(figure)


def time_and_disk(views: Sequence[StageView]) -> str:
    """Seconds and bytes of every stage, side by side."""
    names = [view.stage for view in views]
    with canvas(0.27 * len(names) + 0.5) as figure:
        left, right = figure.subplots(1, 2, sharey=True)
        columns = (
            (left, [(view.seconds, view.took) for view in views], BLUE, "time"),
            (right, [(float(view.size_bytes), byte_size(view.size_bytes)) for view in views], ORANGE, "disk"),
        )
        for axis, shown, colour, title in columns:
            values = [value for value, _ in shown]
            axis.barh(range(len(names)), values, height=0.62, color=colour, alpha=0.85)
            for place, (value, words) in enumerate(shown):
                axis.annotate(words, (value, place), (4, 0), textcoords="offset points", va="center", fontsize=8)
            axis.set_title(title)
            axis.set_xlim(0, max([*values, 1e-9]) * 1.35)
            axis.xaxis.set_visible(False)
            axis.spines["bottom"].set_visible(False)
            axis.grid(visible=False)
            axis.tick_params(axis="y", length=0)
        left.set_yticks(range(len(names)), names)
        left.set_ylim(len(names) - 0.5, -0.5)
        return to_svg(figure)


def sizes_table(views: Sequence[StageView]) -> Table:
    """Key, time and disk of every stage."""
    rows = tuple(
        (v.stage, short_key(v.key), v.took, byte_size(v.size_bytes), v.created_at[:16].replace("T", " ")) for v in views
    )
    caption = "Stages"
    if any(RESUMED in view.timings for view in views):
        caption += "; ≥: it was stopped and went on, or was mended, and this is the time since"
    return Table(("stage", "key", "time", "disk", "made (UTC)"), rows, caption=caption)


def _depth(parents: Mapping[str, set[str]], name: str) -> int:
    return max((_depth(parents, parent) + 1 for parent in parents[name]), default=0)


def _direct(parents: Mapping[str, set[str]], name: str) -> set[str]:
    """Parents of `name` that are no ancestors of another parent."""

    def ancestors(of: str) -> set[str]:
        return parents[of] | {a for parent in parents[of] for a in ancestors(parent)}

    return {p for p in parents[name] if not any(p in ancestors(other) for other in parents[name])}
