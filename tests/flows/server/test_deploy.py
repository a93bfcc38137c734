"""What stands in deploy/: two nodes for real, on this machine's loopback; the rest as far as it can be read."""

from __future__ import annotations

import fcntl
import importlib.util
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from flows.server.background_processes import family
from mscl.training.launch import AGENT_VARIABLE, COMMAND_VARIABLE
from tests.flows.running import finished, no_survivors, only

DEPLOY = Path(__file__).resolve().parents[3] / "deploy"


POOLS = ("kubernetes-cpu.json", "kubernetes-gpu.json")


@pytest.mark.parametrize("pool", POOLS)
def test_the_pool_s_template_uses_just_the_variables_it_declares(pool: str) -> None:
    template = json.loads((DEPLOY / pool).read_text())
    used = set(re.findall(r"{{ (\w+) }}", json.dumps(template["job_configuration"])))
    assert used == set(template["variables"]["properties"])


def test_every_path_that_the_image_copies_is_there() -> None:
    lines = (DEPLOY / "Dockerfile").read_text().splitlines()
    sources = [source for line in lines if line.startswith("COPY ") for source in line.split()[1:-1]]
    assert {"flows", "mscl", "kernels", "storage", "pyproject.toml"} <= set(sources)
    for source in sources:
        assert (DEPLOY.parent / source).exists(), source


def test_manifests_and_scripts_can_be_read() -> None:
    kinds = [part["kind"] for part in yaml.safe_load_all((DEPLOY / "kubernetes-train.yaml").read_text())]
    assert kinds == ["Service", "Job"]
    for script in DEPLOY.glob("*.sh"):
        subprocess.run(["bash", "-n", script], check=True)
        assert os.access(script, os.X_OK)


def _linter(name: str) -> str:
    """Path of a linter that a package of the extra `dev` brings, beside this interpreter."""
    found = shutil.which(name, path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if found is None:
        pytest.skip(f"{name} is not installed: its package has no build for this machine")
    return found


@pytest.mark.parametrize(("linter", "pattern"), [("shellcheck", "*.sh"), ("hadolint", "Dockerfile")])
def test_the_linters_have_nothing_to_say(linter: str, pattern: str) -> None:
    files = sorted(DEPLOY.glob(pattern))
    assert files
    done = subprocess.run([_linter(linter), *files], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_kubernetes_knows_every_field_of_the_manifests() -> None:
    validate = pytest.importorskip("kubernetes_validate", reason="of the extra deploy, 100 MB of schemas")
    for part in yaml.safe_load_all((DEPLOY / "kubernetes-train.yaml").read_text()):
        validate.validate(part, desired_version="1.37", strict=True)
    for pool in POOLS:
        assert validate.validate(_rendered_job(pool), desired_version="1.37", strict=True) is not None


def test_only_the_gpu_pool_asks_for_a_gpu() -> None:
    limits = {
        pool: _rendered_job(pool)["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"] for pool in POOLS
    }
    assert "nvidia.com/gpu" not in limits["kubernetes-cpu.json"]
    assert limits["kubernetes-gpu.json"]["nvidia.com/gpu"] == 1


def test_the_pool_s_container_runs_prefect_s_command_and_not_ours() -> None:
    """The image's entry point is `mscl`, which would take `prefect flow-run execute` for arguments of its own."""
    container = _rendered_job(POOLS[0])["spec"]["template"]["spec"]["containers"][0]
    assert 'ENTRYPOINT ["mscl"]' in (DEPLOY / "Dockerfile").read_text()
    done = subprocess.run([*container["command"], "echo", *container["args"]], capture_output=True, text=True)
    assert container["command"] == ["env"]
    assert done.stdout.split() == container["args"] == ["python", "-m", "prefect.engine"]


def _rendered_job(pool: str) -> dict[str, Any]:
    """The job of the work pool with its defaults, made as a worker makes it."""
    from prefect.utilities.templating import apply_values

    template = json.loads((DEPLOY / pool).read_text())
    values = {name: one["default"] for name, one in template["variables"]["properties"].items() if "default" in one}
    values |= {"command": ["python", "-m", "prefect.engine"], "env": [{"name": "A", "value": "b"}]}
    job = apply_values(template["job_configuration"]["job_manifest"], values)
    return dict(job)


def test_a_further_node_starts_modules_that_are_there() -> None:
    modules = re.findall(r"\[(\w+)\]=([\w.]+)", (DEPLOY / "join.sh").read_text())
    assert [stage for stage, _ in modules] == ["pretrain", "embed", "finetune"]
    assert [module for _, module in modules if importlib.util.find_spec(module) is None] == []


def test_a_rank_of_a_further_node_has_neither_our_agent_nor_our_command(tmp_path: Path) -> None:
    (tmp_path / "own_job.py").write_text("def main(arguments):\n    print(arguments)\n    return 7\n")
    unset = {AGENT_VARIABLE, COMMAND_VARIABLE}
    environment = {name: value for name, value in os.environ.items() if name not in unset}
    done = subprocess.run(
        [sys.executable, "-m", "mscl.training.rank", "own_job", "job.json"], capture_output=True, text=True,
        env=environment | {"PYTHONPATH": f"{DEPLOY.parent}{os.pathsep}{tmp_path}"},
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (7, "['job.json']\n"), done.stderr


@pytest.mark.skipif(shutil.which("flock") is None, reason="no flock")
def test_a_further_node_joins_the_last_job_of_a_result_in_work(tmp_path: Path) -> None:
    """Fine-tuning on several splits, begun before the further node; beside it what a killed run left."""
    (tmp_path / ".locks").mkdir()
    results = {key: tmp_path / "finetune" / key for key in ("left", "working")}
    files = [results["left"] / "job.json", *(results["working"] / ".runs" / f"split{n}" / "job.json" for n in (1, 2))]
    for number, path in enumerate([results["left"] / ".begun.json", results["working"] / ".begun.json", *files]):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        os.utime(path, (1000 + number, 1000 + number))
    (tmp_path / "torchrun").write_text('#!/bin/sh\necho "$@"\nkill $PPID\n')
    (tmp_path / "torchrun").chmod(0o755)
    environment = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    (tmp_path / ".locks" / "finetune-left").touch()
    with (tmp_path / ".locks" / "finetune-working").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = subprocess.run(
            [DEPLOY / "join.sh", tmp_path, "2", "head:29500", "1"], env=environment, capture_output=True, text=True,
            timeout=20,
        )  # fmt: skip
    joined = re.findall(r"^joining (.+)$", done.stdout, re.M)
    assert joined == [str(files[2])], done
    assert f"-m mscl.training.rank mscl.finetune.process {files[2]}" in done.stdout
    usage = subprocess.run([DEPLOY / "join.sh", tmp_path], capture_output=True, text=True)
    assert usage.returncode and "usage: deploy/join.sh WORKSPACE NODES LEADER:PORT" in usage.stderr


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash")
def test_further_slurm_nodes_join_with_as_many_processes_as_gpus(tmp_path: Path) -> None:
    """Of `--gpus-per-node=a100:8` torchrun was to start `a100:8` processes, and the leader waited for ever."""
    answers = f'case "$2" in job) echo "  Command={DEPLOY}/slurm.sh demo";; *) echo one; echo two;; esac'
    both = 'echo "$@"; case "$*" in *join.sh*) touch joined;; *) until [ -e joined ]; do sleep .05; done;; esac'
    for name, line in (("scontrol", answers), ("srun", both)):
        (tmp_path / name).write_text(f"#!/bin/sh\n{line}\n")
        (tmp_path / name).chmod(0o755)
    slurm = {"SLURM_JOB_ID": "1", "SLURM_JOB_NODELIST": "n[1-2]", "SLURM_GPUS_PER_NODE": "a100:8"}
    done = subprocess.run(
        [DEPLOY / "slurm.sh", "demo"], capture_output=True, text=True, cwd=tmp_path,
        env=os.environ | slurm | {"PATH": f"{tmp_path}:{os.environ['PATH']}"}, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert f"{DEPLOY}/join.sh {tmp_path}/workspace 2 one:29500 8\n" in done.stdout
    assert "mscl run demo runtime.nodes=2 runtime.rendezvous=one:29500" in done.stdout


def test_a_further_node_of_kubernetes_ends_with_its_own_job() -> None:
    (job,) = [
        part for part in yaml.safe_load_all((DEPLOY / "kubernetes-train.yaml").read_text()) if part["kind"] == "Job"
    ]
    (container,) = job["spec"]["template"]["spec"]["containers"]
    assert [one["name"] for one in container["env"]] == ["JOB_UID"]
    assert "done=/results/workspace/.train-done-$JOB_UID\n" in container["args"][0]


@pytest.mark.storm
@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash")
def test_a_second_node_joins_the_training(tiny: Path, tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        meeting = f"127.0.0.1:{probe.getsockname()[1]}"
    workspace = tmp_path / "workspace"
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    follower = subprocess.Popen(
        [DEPLOY / "join.sh", workspace, "2", meeting, "1"], env=os.environ | {"PATH": path, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    code, output = finished(
        "run", tiny, "--no-prefect", "--workspace", workspace, "runtime.nodes=2", f"runtime.rendezvous={meeting}",
        timeout=400,
    )  # fmt: skip
    members = family(follower.pid)
    follower.send_signal(signal.SIGTERM)
    said, _ = follower.communicate(timeout=60)
    assert code == 0, output + said
    assert "joining" in said
    no_survivors(members, seconds=60)
    assert only(workspace, "pretrain").record.metrics["steps"] == 4
