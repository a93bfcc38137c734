"""The pipeline as Prefect flows, against a real server: what runs, what is reused, what the UI is given."""

from __future__ import annotations

import json
import re
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from mscl.config import DataConfig, ExperimentConfig, LossConfig, PretrainConfig, RuntimeConfig, load_config
from mscl.errors import ConfigError, UserError
from mscl.pipeline import PIPELINE, Outcome
from tests.flows.running import digests, flow_runs, task_runs, wait_until

NAMES = [stage.name for stage in PIPELINE]
First = tuple[Path, dict[str, Outcome]]


@pytest.fixture(scope="module")
def first(api: str, tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> First:
    """A workspace, and the outcomes of the whole pipeline in it, as Prefect ran it."""
    from flows.pipeline import full

    workspace = tmp_path_factory.mktemp("first") / "workspace"
    outcomes = full(workspace=str(workspace), preset=str(tiny))
    run = flow_runs(limit=1)[0].id
    # The server writes task runs down from events, which may come after the end of the run that they belong to.
    wait_until(
        lambda: sum(one.state.is_final() for one in task_runs(run)) == len(NAMES),
        seconds=60,
        why="the end of each stage is written down",
    )
    return workspace, outcomes


def _artifacts(key: str) -> list[Any]:
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey
    from prefect.client.schemas.sorting import ArtifactSort

    chosen = ArtifactFilter(key=ArtifactFilterKey(any_=[key]))
    with get_client(sync_client=True) as client:
        return list(client.read_artifacts(artifact_filter=chosen, sort=ArtifactSort.CREATED_DESC))


def _table_of_first(first: First) -> Any:
    """The table that the first run over its workspace left: other tests have runs and tables of their own."""
    return [table for table in _artifacts("pipeline") if f"{first[0].resolve()}/" in table.data][-1]


def _log(run: object) -> list[str]:
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import LogFilter

    with get_client(sync_client=True) as client:
        found = client.read_logs(LogFilter.model_validate({"flow_run_id": {"any_": [run]}}), limit=200)
    return [line.message for line in found]


def test_sections_change_only_the_names_they_set(tiny: Path) -> None:
    from flows.parameters import resolve

    plain = load_config(str(tiny))
    changes = {
        "data": DataConfig(split=2),
        "pretrain": PretrainConfig.model_validate({"batch_size": 8, "loss": {"temperature": 0.5}}),
        "retrieve": None,
    }
    config = resolve(str(tiny), changes)
    assert config.data == plain.data.model_copy(update={"split": 2})
    loss = plain.pretrain.loss.model_copy(update={"temperature": 0.5})
    assert config.pretrain == plain.pretrain.model_copy(update={"batch_size": 8, "loss": loss})
    assert isinstance(config.pretrain.loss, LossConfig)
    assert config.retrieve == plain.retrieve


def test_sections_that_do_not_fit_the_preset(tiny: Path) -> None:
    from flows.parameters import resolve

    with pytest.raises(ConfigError, match=r"clip is \[8, 2\]; give its settings by name"):
        resolve(str(tiny), {"clip": [8, 2]})
    with pytest.raises(ConfigError, match=r"unknown setting 'clips': did you mean 'clip'"):
        resolve(str(tiny), {"clips": {}})
    with pytest.raises(ConfigError, match=r"queue_size 16 is not divisible by batch_size 12"):
        resolve(str(tiny), {"pretrain": PretrainConfig.model_construct({"batch_size"}, batch_size=12)})


def test_a_stage_that_is_not_run_cannot_be_forced(tiny: Path, tmp_path: Path) -> None:
    from flows.pipeline import full

    with pytest.raises(UserError, match="force names embed, which is no part of a run until ingest"):
        full.fn(preset=str(tiny), workspace=str(tmp_path), until="ingest", force=["embed"])


def test_a_section_is_held_against_the_preset_and_not_against_what_the_class_would_take(tiny: Path) -> None:
    from flows.parameters import resolve
    from flows.pipeline import full, stage_flow

    changes = {"loss": {"queue_size": 24}}  # fits the preset's batch of 4, and not the 128 of `PretrainConfig()`
    pretrain = resolve(str(tiny), {"pretrain": changes}).pretrain
    assert (pretrain.loss.queue_size, pretrain.batch_size, pretrain.epochs) == (24, 4, 2)
    with pytest.raises(ConfigError, match=r"queue_size 24 is not divisible by batch_size 5"):
        resolve(str(tiny), {"pretrain": changes | {"batch_size": 5}})
    with pytest.raises(ConfigError, match=r"temprature"):
        resolve(str(tiny), {"pretrain": {"loss": {"temprature": 1}}})
    assert not any(one.should_validate_parameters for one in (full, *map(stage_flow, NAMES)))


def test_every_stage_leaves_a_result_and_a_report(first: First) -> None:
    workspace, outcomes = first
    assert list(outcomes) == NAMES
    for name, outcome in outcomes.items():
        assert not outcome.reused
        assert outcome.result.folder.parent.parent == workspace.resolve()
        # Drawn while the next stage ran, it belongs to the task of its own, on the page of the one run.
        made_by = json.loads((outcome.result.folder / ".made-by.json").read_bytes())["flow_run"]
        (report,) = [one for one in _artifacts(f"{name}-report") if str(one.flow_run_id) == made_by]
        assert report.type == "markdown"
        assert name in report.data
        assert len(report.data) < 1_000_000
        assert report.description.endswith(f" (`{outcome.result.key}`)")
        assert report.task_run_id in {one.id for one in task_runs(made_by) if one.name == name}


def test_a_report_that_cannot_be_published_is_said_after_the_others(
    first: First, monkeypatch: pytest.MonkeyPatch
) -> None:
    from flows import artifacts
    from flows.background import in_background
    from storage.workspace import Workspace

    published: list[str] = []

    def publish(_markdown: str, *, key: str, **_card: str) -> None:
        if key == "extract-report":
            raise OSError(f"no room for {key}")
        published.append(key)

    monkeypatch.setattr(artifacts, "create_markdown_artifact", publish)
    workspace = Workspace(str(first[0]))
    with pytest.raises(OSError, match="no room for extract"), in_background():
        for name in ("ingest", "extract", "motion"):
            artifacts.publish_stage(workspace, first[1][name])
    assert published == ["ingest-report", "motion-report"]


def test_the_run_s_table_says_what_was_computed_and_where_it_lies(first: First) -> None:
    table = _table_of_first(first)
    assert table.description == f"{len(NAMES)} stages computed, 0 reused"
    rows = table.data.partition("| stage |")[2].splitlines()[2 : 2 + len(NAMES)]
    for name, row in zip(NAMES, rows, strict=True):
        outcome = first[1][name]
        assert row.startswith(f"| {name} | **computed** | ") and row.endswith(" | this run |")
        assert f" | `{outcome.result.key}` | " in row
    assert f"`{first[0].resolve()}/STAGE/KEY`" in table.data


def test_the_run_has_a_task_for_every_stage(first: First) -> None:
    table = _table_of_first(first)
    stages = sorted(task_runs(table.flow_run_id), key=lambda one: one.start_time)
    assert [one.name for one in stages] == NAMES
    assert {one.state.name for one in stages} == {"Computed"}
    assert all(one.state.is_completed() for one in stages)
    assert not [run for run in flow_runs() if run.parent_task_run_id is not None]  # nothing runs as a subflow


def test_a_second_run_reuses_everything(first: First, tiny: Path) -> None:
    from flows.pipeline import full

    workspace, before = first
    again = full(workspace=str(workspace), preset=str(tiny))
    run = flow_runs(limit=1)[0]
    assert run.name == f"tiny · {load_config(str(tiny)).data.root.rpartition('/')[2]}"
    assert {"preset:tiny", "dataset:videos", f"workspace:{'/'.join(workspace.parts[-2:])}"} <= set(run.tags)
    wait_until(
        lambda: [one.state.name for one in task_runs(run.id)] == len(NAMES) * ["Reused"],
        seconds=60,
        why="each stage says that it was reused",
    )
    assert all(outcome.reused for outcome in again.values())
    assert [o.result.key for o in again.values()] == [o.result.key for o in before.values()]
    table = _artifacts("pipeline")[0]
    assert table.description == f"0 stages computed, {len(NAMES)} reused"
    linked = re.findall(r"\[run\]\(http://127\.0\.0\.1:\d+/runs/flow-run/([0-9a-f-]{36})\)", table.data)
    assert linked == [str(_table_of_first(first).flow_run_id)] * len(NAMES)  # the run that computed them


def test_a_stage_alone_finds_its_inputs(first: First, tiny: Path) -> None:
    from flows.outcome_labels import labels_of
    from flows.pipeline import stage_flow
    from mscl.config import ScreenConfig

    workspace, before = first
    reused = stage_flow("screen")(workspace=str(workspace), preset=str(tiny))
    assert reused.reused
    assert reused.result.key == before["screen"].result.key
    assert labels_of(flow_runs(limit=1)[0]) == (reused.result.key, True)
    assert _artifacts("pipeline")[0].description == "0 stages computed, 4 reused"
    other = stage_flow("screen")(
        workspace=str(workspace),
        preset=str(tiny),
        screen=ScreenConfig(select="all"),
        inputs={"motion": before["motion"].result.key[:8], "ingest": ""},  # a form's field that was emptied
    )
    assert not other.reused
    assert other.result.key != reused.result.key
    assert labels_of(flow_runs(limit=1)[0]) == (other.result.key, False)
    assert other.result.record.inputs == reused.result.record.inputs


def test_force_computes_the_same_again(first: First, tiny: Path, copy: Path) -> None:
    from flows.pipeline import stage_flow

    before = first[1]
    again = stage_flow("extract")(workspace=str(copy), preset=str(tiny), force=True)
    assert not again.reused
    assert again.result.key == before["extract"].result.key
    assert digests(again.result) == digests(before["extract"].result)


def test_a_user_s_mistake_fails_the_run_with_our_message(api: str, tmp_path: Path) -> None:
    from flows.pipeline import full, stage_flow

    with pytest.raises(ConfigError, match="unknown preset 'dem'; did you mean 'demo'"):
        full(workspace=str(tmp_path / "ws"), preset="dem")
    run = flow_runs(limit=1)[0]
    assert run.state.is_failed()
    assert "unknown preset 'dem'" in run.state.message
    wait_until(lambda: any("unknown preset" in line for line in _log(run.id)), seconds=60, why="the run's log says it")
    assert not [line for line in _log(run.id) if "Traceback" in line]
    with pytest.raises(UserError, match="unknown stage 'extrct'"):
        full(workspace=str(tmp_path / "ws"), preset="demo", force=["extrct"])
    assert not (tmp_path / "ws").exists()
    with pytest.raises(UserError, match="no finished result of ingest"):
        stage_flow("extract")(workspace=str(tmp_path / "ws"), preset="demo")


def test_a_run_that_fails_says_what_it_had_done(first: First, tiny: Path, tmp_path: Path) -> None:
    from flows.pipeline import full

    workspace, _ = first
    with pytest.raises(UserError, match="runtime.nodes is 2 and runtime.rendezvous is empty"):
        full(
            workspace=str(workspace),
            preset=str(tiny),
            pretrain=PretrainConfig(epochs=3),
            runtime=RuntimeConfig(nodes=2, retry_delay_seconds=5),
        )
    run, idle = flow_runs(limit=1)[0].id, "runtime.retry_delay_seconds has no effect: runtime.retries is 0"
    wait_until(lambda: idle in _log(run), seconds=60, why="the log says what does nothing, as the command does")
    table = _artifacts("pipeline")[0]
    assert table.description == "0 stages computed, 4 reused, pretrain failed"
    assert "| pretrain | **failed** |" in table.data


def test_the_table_leads_with_scores_and_says_where_the_report_is(first: First) -> None:
    table = _table_of_first(first).data
    assert table.index("retrieval R@1") < table.index("report.html") < table.index("| stage |")
    page = first[1]["report"].result.folder / "report.html"
    assert page.is_file() and f"`{page}`" in table
    assert "file:" not in table  # a link that no browser follows from a page of a server


def test_the_log_tells_what_a_stage_reads_and_leaves(first: First) -> None:
    said = _log(_table_of_first(first).flow_run_id)
    done = first[1]
    ingest = done["ingest"].result
    assert f"extract begins: reads ingest {ingest.short_key}, of {ingest.record.config['data']['root']}" in said
    for name, outcome in done.items():
        (end,) = [line for line in said if line.startswith(f"{name} {outcome.result.key} computed in ")]
        assert str(outcome.result.folder) in end
    assert any("R@1" in line for line in said)


def test_a_run_waits_before_a_stage_until_it_is_resumed(api: str, copy: Path, tiny: Path) -> None:
    from prefect.client.orchestration import get_client

    from flows.pipeline import stage_flow

    def resume() -> None:
        with get_client(sync_client=True) as client:
            wait_until(lambda: flow_runs(limit=1)[0].state.is_paused(), seconds=60, why="the run waits")
            client.resume_flow_run(flow_runs(limit=1)[0].id)

    resumer = Thread(target=resume)
    resumer.start()
    runtime = {"pause_before": ["screen"]}
    assert not stage_flow("screen")(workspace=str(copy), preset=str(tiny), force=True, runtime=runtime).reused
    resumer.join()


def test_what_a_killed_run_left_is_ended(api: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stage that ran, and one that waited for its retry."""
    from prefect import task
    from prefect.client.orchestration import get_client
    from prefect.states import AwaitingRetry, Crashed, Running

    from flows import left_task_runs
    from flows.pipeline import full
    from flows.settings import TAG

    @task
    def stage() -> None: ...

    monkeypatch.setattr(left_task_runs, "_GRACE", left_task_runs.timedelta(0))
    with get_client(sync_client=True) as client:
        run = client.create_flow_run(full, tags=[TAG], state=Running())
        for number, state in enumerate((Running(), AwaitingRetry())):
            client.create_task_run(stage, flow_run_id=run.id, dynamic_key=str(number), state=state)
        client.set_flow_run_state(run.id, Crashed(), force=True)
    left_task_runs.end_left_task_runs()
    assert [one.state.name for one in task_runs(run.id)] == ["Crashed"] * 2


def test_every_flow_takes_every_section_and_nothing_else() -> None:
    from flows.pipeline import full, stage_flow

    shared = {"preset", "data_root", "annotations", "workspace", "force"}
    own = {"full": shared | {"until"}, "stage": shared | {"inputs"}}
    for one in (full, *map(stage_flow, NAMES)):
        taken = set(one.parameters.properties)
        assert taken == own.get(one.name, own["stage"]) | set(ExperimentConfig.model_fields)
    with pytest.raises(Exception, match="temprature"):
        full(preset="demo", temprature=1)
    with pytest.raises(AttributeError, match="no attribute 'extrct'"):
        import flows.pipeline

        flows.pipeline.extrct  # noqa: B018


def test_the_notification_that_the_docs_show_can_be_made(api: str) -> None:
    from prefect.client.orchestration import get_client

    page = (Path(__file__).resolve().parents[2] / "docs" / "prefect.md").read_text()
    (code,) = [block for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if "Automation(" in block]
    exec(code)
    with get_client(sync_client=True) as client:
        (made,) = client.read_automations_by_name("mscl: tell of runs that failed")
        client.delete_automation(made.id)  # the tests' runs that fail are nobody's news
    assert made.enabled and made.actions[0].type == "send-notification"
