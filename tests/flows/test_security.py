"""Nothing is unpickled or executed from data, no password gets into a record, and nobody listens outside loopback."""

from __future__ import annotations

import ast
import json
import os
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from tests.flows.running import family, is_loopback, listening, mscl, only

CHECKOUT = Path(__file__).resolve().parents[2]
SOURCES = sorted(path for part in ("flows", "mscl", "kernels", "storage") for path in (CHECKOUT / part).rglob("*.py"))

UNSAFE_MODULES = {"pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal"}
UNSAFE_CALLS = {"eval", "exec", "os.system", "torch.hub.load", "yaml.unsafe_load", "yaml.full_load", "yaml.load_all"}
NAMED_ONLY = {"UnpicklingError"}
"""Of an unsafe module, what may be used: an exception that torch.load raises and that we turn into a message."""


def _dangers(source: str) -> Iterator[str]:
    """What in Python source may run code that comes with data; line number and words."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) in UNSAFE_MODULES:
            if node.attr not in NAMED_ONLY:
                yield f"{node.lineno}: {ast.unparse(node)}"
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in UNSAFE_MODULES:
            yield f"{node.lineno}: {ast.unparse(node)}"
        elif isinstance(node, ast.Call):
            name, options = ast.unparse(node.func), {option.arg: option.value for option in node.keywords}
            if name in UNSAFE_CALLS or _is_true(options.get("shell")) or _is_true(options.get("allow_pickle")):
                yield f"{node.lineno}: {ast.unparse(node)}"
            if name == "torch.load" and not _is_true(options.get("weights_only")):
                yield f"{node.lineno}: {ast.unparse(node)}"
            if name == "yaml.load" and len(node.args) + len(options) < 2:
                yield f"{node.lineno}: {ast.unparse(node)}"


def _is_true(value: ast.expr | None) -> bool:
    """Whether an option is given and is not plainly off."""
    return value is not None and not (isinstance(value, ast.Constant) and value.value is False)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(CHECKOUT).as_posix())
def test_no_file_of_ours_runs_what_data_says(path: Path) -> None:
    assert not list(_dangers(path.read_text()))


@pytest.mark.parametrize(
    "source",
    [
        "import pickle\npickle.load(f)", "from pickle import loads", "torch.load(f)",
        "torch.load(f, weights_only=False)",
        "np.load(f, allow_pickle=True)", "subprocess.run(x, shell=True)", "eval(x)", "yaml.load(x)",
        "torch.hub.load('a/b', 'c')",
    ],
)  # fmt: skip
def test_the_search_finds_what_it_looks_for(source: str) -> None:
    assert list(_dangers(source))


def test_the_search_lets_safe_forms_pass() -> None:
    assert not list(_dangers("torch.load(f, weights_only=True)\nnp.load(f)\nyaml.load(x, Loader)\nencoder.eval()"))


def test_yaml_loaders_are_safe_ones() -> None:
    import yaml

    from mscl.config import load_config
    from mscl.errors import ConfigError

    attack = "base: demo\nruntime: !!python/object/apply:os.system ['true']\n"
    with pytest.raises(yaml.constructor.ConstructorError):
        yaml.safe_load(attack)
    with pytest.raises(ConfigError, match="python/object/apply"):
        load_config("demo", ["runtime.workers=!!python/object/apply:os.system ['true']"])


def test_stores_have_no_codec_that_runs_code(tmp_path: Path) -> None:
    """Zarr arrays of objects are pickled by some codecs; ours are numbers, plain or packed, with zstd and checksums."""
    from storage.flow_store import FlowSpec, create_flow_store
    from storage.motion_store import MotionWriter

    create_flow_store(tmp_path / "flow.zarr", FlowSpec(2, 3, 16, 16, segments_per_shard=1))
    motion = MotionWriter(tmp_path / "motion.zarr", segments=2, max_fields=3, segments_per_shard=1)
    for shard in range(motion.grid.num_shards):
        motion.write(shard, [None])
    motion.finalise()
    found = [json.loads(path.read_text()) for path in tmp_path.rglob("zarr.json")]
    arrays = [metadata for metadata in found if metadata["node_type"] == "array"]
    assert len(arrays) >= 2

    def codecs(metadata: dict[str, object]) -> Iterator[str]:
        for name in ("codecs", "index_codecs"):
            listed = metadata.get(name, [])
            assert isinstance(listed, list)
            for codec in listed:
                yield codec["name"]
                yield from codecs(codec.get("configuration", {}))

    for metadata in arrays:
        assert metadata["data_type"] in {"int16", "int8", "int32", "int64", "float32", "float64", "uint8", "bool"}
        allowed = {"bytes", "mscl.packed_differences", "zstd", "crc32c", "sharding_indexed", "transpose"}
        assert set(codecs(metadata)) <= allowed


def test_a_link_to_a_run_holds_no_password() -> None:
    from flows.artifacts import _public

    assert _public("https://me:secret@host:4200/runs/flow-run/1?a=b") == "https://host:4200/runs/flow-run/1?a=b"
    assert _public("http://127.0.0.1:4200/runs/flow-run/1") == "http://127.0.0.1:4200/runs/flow-run/1"


def test_no_variable_of_the_environment_gets_into_a_record(api: str, tiny: Path, tmp_path: Path) -> None:
    from tests.flows.running import finished

    secret = "s3cr3t-of-this-test"
    code, output = finished(
        "stage", "ingest", tiny, "--workspace", tmp_path / "ws", api=api,
        PREFECT_API_KEY=secret, AWS_SECRET_ACCESS_KEY=secret, PREFECT_API_AUTH_STRING=f"me:{secret}",
    )  # fmt: skip
    assert code == 0, output
    assert only(tmp_path / "ws", "ingest").record.stage == "ingest"
    files = [path for path in (tmp_path / "ws").rglob("*") if path.is_file()]
    assert not [path for path in files if secret.encode() in path.read_bytes()]
    assert secret not in output


@pytest.mark.storm
def test_a_whole_run_and_its_server_listen_on_loopback_only(tiny: Path, tmp_path: Path) -> None:
    """The server that `mscl run` starts, worker processes, torchrun and its ranks."""
    import time

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    variables = {"PREFECT_HOME": str(tmp_path / "prefect"), "PREFECT_API_URL": f"http://127.0.0.1:{port}/api"}
    process = mscl("run", tiny, "--workspace", tmp_path / "ws", **variables)
    seen: dict[str, set[str]] = {}
    while process.poll() is None:
        members = {process.pid, *(child.pid for child in family(process.pid))}
        server = tmp_path / "prefect" / "server.pid"
        if server.exists():
            members |= {int(server.read_text()), *(child.pid for child in family(int(server.read_text())))}
        for pid in members:
            for address, _ in listening(pid):
                with suppress(psutil.NoSuchProcess):
                    seen.setdefault(address, set()).add(psutil.Process(pid).name())
        time.sleep(0.3)
    output = process.communicate()[0]
    down = mscl("down", **variables)
    down.communicate(timeout=120)
    assert process.returncode == 0, output
    assert seen
    assert all(is_loopback(address) for address in seen), seen
    assert os.path.isdir(tmp_path / "ws" / "pretrain")
