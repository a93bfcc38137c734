"""The scores of a whole run, side by side: what a reader looks at first, on the page and on the console."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mscl.display.blocks import Block, Note
from mscl.embedding.variants import CONTROLS_NOTE, has_controls, in_order, variant_names
from mscl.finetune.blocks import finetune_tables
from mscl.finetune.scores import NOT_ASKED, FinetuneMetrics
from mscl.score.blocks import score_table
from mscl.score.classifier_scores import HEADS, ProbeMetrics
from mscl.score.retrieval_scores import RetrievalMetrics
from mscl.score.scores import Score, VariantScores, percent, percents
from mscl.score.superclasses import RECORDED
from mscl.stage.skipped import Skipped
from mscl.stage.view import Stages


@dataclass(frozen=True)
class Results:
    """The scores of a run; None: a stage that is not there or scored nothing."""

    retrieve: RetrievalMetrics | None
    probe: ProbeMetrics | None
    finetune: FinetuneMetrics | None
    skipped: Mapping[str, Skipped]
    called: Mapping[str, str]
    """Variant -> how it is called."""
    superclasses: tuple[str, ...] = ()
    """What the scores are by, where that is not the dataset's classes."""
    coarse: "tuple[Results, ...]" = ()
    """The same features scored by superclasses; several where `probe` and `retrieve` were given others."""

    @classmethod
    def of(cls, stages: Stages) -> "Results":
        """From the records of a run."""
        retrieve = RetrievalMetrics.read(stages["retrieve"].metrics) if "retrieve" in stages else None
        probe = ProbeMetrics.read(stages["probe"].metrics) if "probe" in stages else None
        finetune = FinetuneMetrics.read(stages["finetune"].metrics) if "finetune" in stages else None
        read = {"retrieve": retrieve, "probe": probe, "finetune": finetune}
        return cls(
            None if isinstance(retrieve, Skipped) or not retrieve or not retrieve.variants else retrieve,
            None if isinstance(probe, Skipped) or not probe or not probe.variants else probe,
            None if isinstance(finetune, Skipped) else finetune,
            {name: one for name, one in read.items() if isinstance(one, Skipped) and one != NOT_ASKED},
            variant_names(stages),
            coarse=cls._by_superclass(stages),
        )

    @classmethod
    def _by_superclass(cls, stages: Stages) -> "tuple[Results, ...]":
        found = {
            name: stages[name].metrics[RECORDED]
            for name in ("retrieve", "probe")
            if name in stages and RECORDED in stages[name].metrics
        }
        asked = [stages[name].config.get(name, {}).get(RECORDED) for name in found]
        together = len(found) > 1 and asked[0] == asked[1]
        tables = []
        for of_stages in [tuple(found)] if together else [(name,) for name in found]:
            retrieve = RetrievalMetrics.read(found["retrieve"]) if "retrieve" in of_stages else None
            probe = ProbeMetrics.read(found["probe"]) if "probe" in of_stages else None
            assert not isinstance(retrieve, Skipped) and not isinstance(probe, Skipped)
            names = tuple(found[of_stages[0]]["names"])
            tables.append(cls(retrieve, probe, None, {}, variant_names(stages), names))
        return tuple(tables)

    @property
    def columns(self) -> dict[str, Mapping[str, VariantScores]]:
        """Title -> scores by variant, of what is measured on features."""
        found: dict[str, Mapping[str, VariantScores]] = {}
        if self.retrieve is not None:
            variants = self.retrieve.variants
            found[f"retrieval {next(iter(variants.values())).first_title}"] = variants
        if self.probe is not None:
            head = HEADS.get(self.probe.head, self.probe.head)
            found[f"{head[0].lower()}{head[1:]} top-1"] = self.probe.variants
        return found

    def panels(self) -> dict[str, dict[str, Score]]:
        """Title -> variant -> main score, for the first picture."""
        return {
            f"{title[0].upper()}{title[1:]}": {name: variants[name].first for name in in_order(variants)}
            for title, variants in self.columns.items()
        }

    def tables(self) -> list[Block]:
        """Encoders beside their controls and chance; fine-tuned scores; what was skipped and why."""
        blocks: list[Block] = []
        columns = self.columns
        if columns:
            names = in_order({name: None for variants in columns.values() for name in variants})
            rows = {
                self.called.get(name, name): {
                    title: variants[name].first if name in variants else None for title, variants in columns.items()
                }
                for name in names
            }
            by = f", by superclass: {', '.join(self.superclasses)}" if self.superclasses else ""
            blocks += score_table(rows, caption=_caption(columns, self.called) + by)
            for coarse in self.coarse:
                blocks += coarse.tables()
            if not self.superclasses and has_controls(names):
                blocks.append(Note(f"{CONTROLS_NOTE}."))
        if self.finetune is not None:
            blocks += finetune_tables(self.finetune)
        return blocks + [Note(f"Skipped, {name}: {one.reason}.") for name, one in self.skipped.items()]

    def notes(self) -> list[Block]:
        """What must be known of the scores, a line each, with the stages that say it."""
        said: dict[str, list[str]] = {}
        lines: list[tuple[str, Sequence[str]]] = []
        for name, found in (("retrieve", self.retrieve), ("probe", self.probe), ("finetune", self.finetune)):
            lines.append((name, found.notes if found is not None else ()))
        if self.probe is not None:
            lines += [("probe", scores.warnings) for scores in self.probe.variants.values()]
        if self.finetune is not None:
            lines.append(("finetune", self.finetune.scores.warnings))
        for name, texts in lines:
            for text in texts:
                said.setdefault(text, []).append(name)
        return [Note(f"{', '.join(dict.fromkeys(names))}: {text}") for text, names in said.items()]

    def cards(self) -> list[dict[str, str]]:
        """The few numbers to see first."""
        cards = [
            _card(title, variants["trained"].first, beside=variants.get("untrained"))
            for title, variants in self.columns.items()
            if "trained" in variants
        ]
        if self.finetune is not None:
            cards.append(_card("fine-tuned top-1", self.finetune.scores.top1))
        return cards


def _card(title: str, score: Score, *, beside: VariantScores | None = None) -> dict[str, str]:
    parts = [f"untrained {percent(beside.first.value)}"] if beside is not None else []
    parts += [f"chance {percent(score.chance)}"] if score.chance is not None else []
    interval = percents(score.interval) if score.interval else ""
    if score.decides_nothing:
        parts.append(f"{score.few} decide nothing")
    return {
        "title": f"{title[0].upper()}{title[1:]}", "value": percent(score.value), "interval": interval,
        "beside": " · ".join(parts),
    }  # fmt: skip


def _caption(columns: Mapping[str, Mapping[str, VariantScores]], called: Mapping[str, str]) -> str:
    """What the columns are a mean of: said once where it is the same for all."""
    spreads = {title: _spread(variants, called) for title, variants in columns.items()}
    taken = any(one.first.interval for variants in columns.values() for one in variants.values())
    start = f"Test videos, %{', with 95 % intervals' if taken else ''}"
    if not any(spreads.values()):
        return start
    if len(spreads) == 1:
        return f"{start}; {next(iter(spreads.values()))}"
    return f"{start}; " + "; ".join(f"{title} {spread or 'on one split'}" for title, spread in spreads.items())


def _spread(variants: Mapping[str, VariantScores], called: Mapping[str, str]) -> str:
    """Of the first one, which is named where there are others: each lies apart in its own way."""
    name, scores = next(iter(variants.items()))
    return scores.spread(of=called.get(name, name) if len(variants) > 1 else "")
