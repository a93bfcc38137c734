"""The ablation as a Prefect flow: the plan is a form, the page an artifact."""

from __future__ import annotations

from prefect import flow
from prefect.artifacts import create_markdown_artifact
from prefect.logging import get_run_logger

from flows.one_line_errors import shorten_user_errors
from flows.progress import ArtifactProgress, Both, ConsoleProgress
from flows.workspace_slots import workspace_slot
from mscl.ablation.plan import AblationPlan
from storage.workspace import Workspace

shorten_user_errors()


@flow(
    name="ablate",
    flow_run_name="ablate-{plan.name}",
    description="Variants trained on equal budget and seeds, then probed and retrieved: one table, one picture.",
    persist_result=False,
)
def ablate(plan: AblationPlan, workspace: str = "workspace") -> str:
    """Train and score every run of the plan; those that are done are reused. Returns the result's key.

    Args:
        plan: What is trained; `overrides` are settings like data.root=VIDEOS.
        workspace: Folder of all results; a relative path counts from where the deployment was made.
    """
    from mscl.ablation.page import markdown
    from mscl.ablation.plan import planned_runs
    from mscl.ablation.run import run_ablation

    place = Workspace(workspace)
    limit = planned_runs(plan)[0].config.runtime.runs_per_workspace
    with workspace_slot(place, limit=limit, say=get_run_logger().info):
        done = run_ablation(place, plan, progress=Both([ConsoleProgress(), ArtifactProgress("ablate")]))
    create_markdown_artifact(
        markdown(done.rows, done.settings),
        key="ablate-report",
        description=f"ablate {done.result.key}: {plan.name}",
    )
    return done.result.key
