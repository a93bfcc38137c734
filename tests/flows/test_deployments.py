"""What `mscl up` makes on a server, and that starting is not slowed down by what only a stage needs."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prefect.flows import load_flow_from_entrypoint

from flows.deployments import DEPLOYMENTS, ENVIRONMENT, deploy, deploy_one, made_deployments
from flows.form import AS_PRESET
from mscl.pipeline import PIPELINE


@pytest.fixture(scope="module")
def deployed(api: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """The deployments, made twice, as the API tells them; by name."""
    from prefect.client.orchestration import get_client

    from flows.server.service import _make_pool

    folder = tmp_path_factory.mktemp("deployed")
    with get_client(sync_client=True) as client:
        _make_pool(client)
        _make_pool(client)
        names = deploy(client, folder=folder)
        made = client.request("POST", "/deployments/filter", json={}).json()
        assert deploy(client, folder=folder) == names == [one.name for one in DEPLOYMENTS]
        assert names == ["full", *(stage.name for stage in PIPELINE), "ablate"]
        found = client.request("POST", "/deployments/filter", json={}).json()
    assert [one["updated"] for one in found] == [one["updated"] for one in made], "nothing had changed"
    assert sorted(one["name"] for one in found) == sorted(names)
    assert {one["job_variables"]["working_dir"] for one in found} == {str(folder)}
    return {one["name"]: one for one in found}


def test_a_deployment_says_what_it_does_and_where_it_belongs(deployed: dict[str, dict[str, Any]]) -> None:
    for entry in DEPLOYMENTS:
        one = deployed[entry.name]
        assert one["description"]
        assert one["entrypoint"] == entry.entrypoint
        assert load_flow_from_entrypoint(entry.entrypoint).name == entry.name
        assert one["work_pool_name"] == "mscl"
        assert "mscl" in one["tags"]
        assert one["enforce_parameter_schema"] is True
        assert one["job_variables"]["env"] == {"PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30", "PYTHONSAFEPATH": "1"}
    (schedule,) = deployed["full"]["schedules"]
    assert schedule["active"] is False
    assert schedule["schedule"]["cron"] == "0 3 * * *"


@pytest.mark.parametrize(
    ("parameters", "named"),
    [
        ({"presett": "demo"}, "presett"),
        ({"preset": "ucf-101"}, "preset"),
        ({"force": ["extrct"]}, "extrct"),
        ({"runtime": {"pools": {"extrct": "cpu"}}}, "extrct"),
        ({"data": {"rot": "x"}}, "rot"),
        ({"data": {"root": "/videos"}}, "root"),  # its name in a form is data_root
        ({"data_root": "s3://KEYID:SECRET@bucket/videos"}, "data_root"),
        ({"annotations": "/lists/a.csv,https://host/b.csv?sig=SECRET"}, "annotations"),
        ({"clip": "as is"}, "clip"),
        ({"pretrain": {"loss": {"temprature": 1}}}, "temprature"),
        ({"pretrain": {"epochs": 0}}, "pretrain.epochs"),
        ({"finetune": {"enabled": "maybe"}}, "maybe"),
    ],
)
def test_a_parameter_that_cannot_be_is_refused_by_name_before_a_run_is_made(
    deployed: dict[str, dict[str, Any]], parameters: dict[str, object], named: str
) -> None:
    from httpx import HTTPStatusError
    from prefect.client.orchestration import get_client

    path = f"/deployments/{deployed['full']['id']}/create_flow_run"
    with get_client(sync_client=True) as client, pytest.raises(HTTPStatusError) as refused:
        client.request("POST", path, json={"parameters": parameters})
    assert refused.value.response.status_code == 409
    assert named in refused.value.response.text


def test_the_form_begins_with_what_a_person_fills_in_and_has_no_none(deployed: dict[str, dict[str, Any]]) -> None:
    from mscl.config.presets import preset_names, summary_of

    for name, one in deployed.items():
        if name == "ablate":
            continue
        fields = one["parameter_openapi_schema"]["properties"]
        order = sorted(fields, key=lambda field: fields[field]["position"])
        assert order[:5] == ["preset", "data_root", "annotations", "workspace", "force"]
        assert all(fields[field]["description"] for field in order)
        assert not [field for field in order if {"type": "null"} in fields[field].get("anyOf", [])]
    preset = deployed["full"]["parameter_openapi_schema"]["properties"]["preset"]
    assert preset["anyOf"][0]["enum"] == preset_names()
    assert all(f"- {name}: {summary_of(name)}" in preset["description"] for name in preset_names())


def test_a_setting_s_help_names_its_value_in_every_preset(deployed: dict[str, dict[str, Any]]) -> None:
    from mscl.config import load_config
    from mscl.config.presets import preset_names

    epochs = deployed["full"]["parameter_openapi_schema"]["properties"]["pretrain"]["properties"]["epochs"]
    said = epochs["description"].partition(" Empty: ")[2].removesuffix(".")
    found = {name: value.split()[0] for value in said.split("; ") for name in value.partition("(")[2][:-1].split(", ")}
    assert found == {name: str(load_config(name).pretrain.epochs) for name in preset_names()}


def _settings(section: dict[str, Any], path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, entry in section["properties"].items():
        yield f"{path}.{name}", entry
        if "properties" in entry:
            yield from _settings(entry, f"{path}.{name}")


def test_the_form_sends_only_what_was_filled_in(deployed: dict[str, dict[str, Any]]) -> None:
    """The UI's form sends every default that it shows, and a class's default would go over the preset's value."""
    from prefect.client.orchestration import get_client

    from mscl.config import ExperimentConfig

    fields = deployed["full"]["parameter_openapi_schema"]["properties"]
    for section in ExperimentConfig.model_fields:
        folded, opened = fields[section]["anyOf"]
        assert [fields[section]["default"]] == folded["enum"]
        # By these names the UI finds the tab of a run's values.
        assert set(opened["properties"]) == set(fields[section]["properties"])
        for setting, entry in _settings(fields[section], section):
            assert "default" not in entry, setting
            assert entry.get("type") != "boolean", f"{setting}: a switch is never empty"
    path = f"/deployments/{deployed['full']['id']}/create_flow_run"
    asked = {"finetune": {"enabled": False}, "preset": "ucf101+linear", "data_root": "/videos", "clip": AS_PRESET}
    with get_client(sync_client=True) as client:
        made = client.request("POST", path, json={"parameters": asked})
    assert made.json()["parameters"] == asked


def test_the_flows_load_without_pytorch() -> None:
    """It takes longer to import than all the rest, and who deploys or starts a run waits for it."""
    code = "import sys, flows.ablation, flows.pipeline\n"
    code += "print(*({'torch', 'ray', 'dask', 'sklearn', 'prefect'} & {*sys.modules}))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=Path(__file__).parents[2], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["prefect"]


def test_what_a_person_changed_in_the_ui_stays(deployed: dict[str, dict[str, Any]], tmp_path: Path) -> None:
    """`mscl up` once more: the switch of the example's schedule, and what else the UI can change."""
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        path = f"/deployments/{deployed['full']['id']}"
        (schedule,) = deployed["full"]["schedules"]
        assert client.request("PATCH", f"{path}/schedules/{schedule['id']}", json={"active": True}).is_success
        secret = {"AWS_SECRET_ACCESS_KEY": "{{ prefect.blocks.secret.bucket-key }}"}
        variables = {"env": secret | {"PYTHONSAFEPATH": ""}, "stream_output": False}
        changed = {"parameters": {"preset": "ucf101"}, "concurrency_limit": 2, "job_variables": variables}
        assert client.request("PATCH", path, json=changed).is_success
        deploy_one(client, DEPLOYMENTS[0], folder=tmp_path, made=made_deployments(client))
        full = client.request("GET", path).json()
        (again,) = full["schedules"]
        assert (again["active"], again["slug"], again["schedule"]["cron"]) == (True, "nightly", "0 3 * * *")
        assert full["parameters"] == {"preset": "ucf101"}
        assert full["global_concurrency_limit"]["limit"] == 2
        ours = {"working_dir": str(tmp_path), "env": secret | ENVIRONMENT}
        assert full["job_variables"] == ours | {"stream_output": False}
        # As it was, for the other tests.
        (schedule,) = full["schedules"]
        client.request("PATCH", f"{path}/schedules/{schedule['id']}", json={"active": False})
        client.request("PATCH", path, json={"parameters": {}, "concurrency_limit": None, "job_variables": {}})
        deploy_one(client, DEPLOYMENTS[0], folder=tmp_path, made=made_deployments(client))
        assert client.request("GET", path).json()["schedules"][0]["active"] is False
