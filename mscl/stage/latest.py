"""Which result of a stage is meant: the latest that was not skipped, or the one that a key stands for."""

from collections.abc import Sequence

from mscl.errors import UserError
from mscl.stage.skipped import Skipped
from storage.record import changed_since
from storage.result_folder import Result
from storage.workspace import Workspace


def latest_of(workspace: Workspace, stage: str, key: str = "") -> Result:
    """The result of a stage that was made or used last and was not skipped, or the one in the lineage of `key`.

    Raises:
        UserError: there is none, or the one of the key was skipped.
        StorageError: no result with that key.
    """
    if key:
        named = workspace.by_key(key)
        found = [result for result in workspace.lineage(named) if result.record.stage == stage]
        if not found:
            raise UserError(
                f"{named.record.stage} {named.key} was not made from a result of {stage}; give the key of one: "
                f"{_listed(workspace, stage)}"
            )
        if skipped := Skipped.read(found[0].record.metrics):
            raise UserError(f"{stage} {found[0].key} was skipped: {skipped.reason}; run it again without that")
        return found[0]
    results = workspace.results(stage)
    usable = [result for result in results if Skipped.read(result.record.metrics) is None]
    if usable:
        return usable[-1]
    last = Skipped.read(results[-1].record.metrics) if results else None
    there = f": it was skipped there ({last.reason})" if last else ""
    raise UserError(
        f"there is no finished result of {stage} in {workspace.root}{there}; run that first (`mscl run`, or "
        f"`mscl stage {stage}`), or name another workspace with --workspace"
    )


def outdated(lineage: Sequence[Result]) -> str:
    """Which result of a lineage was made from one that was computed again since and differs; empty where none was."""
    of = {(one.record.stage, one.key): one.record for one in lineage}
    for result in lineage:
        read = {name: of[name, key] for name, key in result.record.inputs.items() if (name, key) in of}
        if changed := changed_since(result.record, read):
            return (
                f"{result.record.stage} {result.key} was made from another {changed[0]} {read[changed[0]].key} than is "
                f"there now, which was computed again; run {result.record.stage} again"
            )
    return ""


def made_of(workspace: Workspace, result: Result, *needed: str) -> dict[str, Result]:
    """The result and all that it was made of, by stage.

    Args:
        needed: stages whose results must be there still.

    Raises:
        UserError: one of them is gone, or what is there does not belong together any more.
    """
    lineage = workspace.lineage(result)
    if said := outdated(lineage):
        raise UserError(said)
    found = {one.record.stage: one for one in lineage}
    if gone := [stage for stage in needed if stage not in found]:
        raise UserError(
            f"the {' and '.join(gone)} behind {result.record.stage} {result.key} is gone; run the pipeline again"
        )
    return found


def _listed(workspace: Workspace, stage: str) -> str:
    return ", ".join(result.key for result in workspace.results(stage)[-5:]) or "there is none in this workspace"
