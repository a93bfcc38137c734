"""`python -m tests.mscl.trackers.tracked_training FOLDER`: one training and every tracker, and what each has kept.

A process of its own, as it asks which libraries are imported and which addresses are called.
"""

import json
import os
import sqlite3
import sys
from collections.abc import Iterator
from pathlib import Path
from socket import AF_UNIX
from typing import Any

import torch

from mscl.pretrain.fit_mscl import fit_mscl
from mscl.trackers import couriers
from mscl.trackers.tracking import Tracking
from mscl.training.distributed import World
from mscl.training.fit import StopRequest
from mscl.views import RawBatch, TwoViews
from tests.mscl.synthetic import SyntheticBatches, plain_views, tiny_config

LIBRARIES = ("wandb", "mlflow", "trackio")
KEY = "0123456789abcdef"


def train(folder: Path, tracking: Tracking | None = None, *, stop_after: int = 0) -> None:
    stop, calls = StopRequest(), 0

    def views(raw: RawBatch) -> TwoViews:
        nonlocal calls
        calls += 1
        stop.asked = calls == stop_after
        return plain_views(raw)

    batches = SyntheticBatches(batch_size=8, total_steps=8)
    fit_mscl(
        tiny_config(), batches, views, steps_per_epoch=4, output=folder, world=World(0, 1, torch.device("cpu")),
        stop=stop, log_every=1, tracking=tracking,
    )  # fmt: skip


def tensorboard_kept(folder: Path) -> dict[str, Any]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder / "tensorboard"))
    events.Reload()
    texts = {
        title: events.Tensors(f"{title}/text_summary")[0].tensor_proto.string_val[0].decode()
        for title in ("settings", "lineage")
    }
    rows = dict(line.strip("| ").split(" | ") for text in texts.values() for line in text.splitlines()[2:])
    return {
        "curve": [[one.step, one.value] for one in events.Scalars("loss/loss")],
        "setting": rows["pretrain.pretrain.lr"],
        "lineage": rows["pretrain"],
    }


def tensorboard_has_at_once(folder: Path) -> list[int]:
    """Steps that are on the disk while the run goes on: they outlive a kill."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    from mscl.trackers.tensorboard import TensorBoard
    from mscl.trackers.tracker import TrackedRun

    TensorBoard(TrackedRun("a", "a", "pretrain", folder, folder)).log(7, {"loss/loss": 1.0})
    events = EventAccumulator(str(folder / "tensorboard"))
    events.Reload()
    return [one.step for one in events.Scalars("loss/loss")] if events.Tags()["scalars"] else []


def wandb_kept(place: Path) -> dict[str, Any]:
    from wandb.proto.wandb_internal_pb2 import Record

    curve, config, group = [], {}, ""
    for file in sorted(place.glob("offline-run-*/*.wandb"), key=lambda path: path.stat().st_mtime):
        for content in log_records(file.read_bytes()):
            record = Record.FromString(content)
            config |= {item.key: json.loads(item.value_json) for item in record.run.config.update}
            group = record.run.run_group or group
            row = {(item.key or item.nested_key[0]): item.value_json for item in record.history.item}
            if "loss/loss" in row:
                curve.append([int(row["step"]), float(row["loss/loss"])])
    pages = [path.read_text() for path in place.glob("offline-run-*/files/media/html/*.html")]
    return {
        "curve": curve, "setting": str(config["pretrain"]["pretrain"]["lr"]), "lineage": config["lineage"]["pretrain"],
        "page": pages[0],
    }  # fmt: skip


def log_records(content: bytes) -> Iterator[bytes]:
    """Of LevelDB's log format, which W&B's files have after seven bytes: checksum, length, kind; blocks of 32 KiB."""
    place, gathered = 7, b""
    while place + 7 <= len(content):
        if (left := -place % 32768) and left < 7:  # no header fits into the rest of the block
            place += left
            continue
        length, kind = int.from_bytes(content[place + 4 : place + 6], "little"), content[place + 6]
        gathered += content[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # whole, or the last part
            yield gathered
            gathered = b""


def mlflow_kept(place: Path) -> dict[str, Any]:
    import mlflow

    client = mlflow.MlflowClient(f"sqlite:///{place / 'mlflow.db'}")
    training, report = client.search_runs(
        [client.get_experiment_by_name("mscl").experiment_id], order_by=["attributes.start_time"]
    )
    return {
        "curve": [[one.step, one.value] for one in client.get_metric_history(training.info.run_id, "loss/loss")],
        "setting": training.data.params["pretrain.pretrain.lr"],
        "lineage": training.data.tags["lineage.pretrain"],
        "status": training.info.status,
        "scores": report.data.metrics,
        "long": training.data.params["ingest.data.superclasses.turn _left_"],
        "page": next((place / "mlflow").rglob(f"{report.info.run_id}/artifacts/report.html")).read_text(),
    }


def trackio_kept(place: Path) -> dict[str, Any]:
    import trackio

    with sqlite3.connect(place / "mscl.db") as database:
        rows = [
            (step, json.loads(values))
            for step, values in database.execute("select step, metrics from metrics order by step")
        ]
    (run,) = [run for run in trackio.Api().runs("mscl") if run.name.startswith("pretrain")]
    return {
        "curve": [[step, values["loss/loss"]] for step, values in rows if "loss/loss" in values],
        "setting": str(run.config["pretrain.pretrain.lr"]),
        "lineage": run.config["lineage.pretrain"],
        "page": next(place.rglob("*.html")).read_text(),
    }


def main(folder: Path) -> None:
    asked: list[str] = []
    called: list[str] = []

    def heard(event: str, values: tuple[Any, ...]) -> None:
        if event in ("socket.getaddrinfo", "socket.connect") and not (asked_here(event, values)):
            called.append(f"{event} {values[-1 if event == 'socket.connect' else 0]}")
        # A socket alone asks nobody: TensorBoard imports boto3 where that is installed, which looks for IPv6.
        if event in ("socket.getaddrinfo", "socket.connect", "socket.sendto"):
            asked.append(str(values))

    def asked_here(event: str, values: tuple[Any, ...]) -> bool:
        if event == "socket.getaddrinfo":
            return values[0] in ("localhost", "127.0.0.1", "::1")
        return bool(values[0].family == AF_UNIX or values[1][0] in ("localhost", "127.0.0.1", "::1"))

    for name in [name for name in os.environ if name.startswith(("WANDB_", "MLFLOW_", "TRACKIO_"))]:
        del os.environ[name]
    os.environ["TRACKIO_DIR"] = str(folder / "trackio")
    couriers.CLOSE_SECONDS = couriers.LEAVE_SECONDS = 600.0  # a new database of MLflow's takes seconds
    sys.addaudithook(heard)
    train(folder / "alone")
    found: dict[str, Any] = {
        "by default": {"imported": [name for name in LIBRARIES if name in sys.modules], "asked for": list(asked)}
    }
    local = folder / ".trackers"
    tracking = Tracking(
        trackers=("tensorboard", *LIBRARIES), stage="pretrain", key=KEY, encoder=KEY, local=str(local),
        settings={
            "pretrain": {"pretrain": {"lr": 0.25}},
            "ingest": {"data": {"superclasses": {"turn (left)": ["TurnLeft"] * 99}}},
        },
        lineage={"ingest": KEY[::-1], "pretrain": KEY},
    )  # fmt: skip
    train(folder / "tracked", tracking, stop_after=3)
    train(folder / "tracked", tracking)
    (folder / "report").mkdir()
    warned: list[str] = []
    page = folder / "report" / "report.html"
    page.write_text("<!doctype html><p>the page</p>")
    report = couriers.Couriers(
        tracking.model_copy(update={"trackers": LIBRARIES, "stage": "report"}), page.parent, warn=warned.append
    )
    report.note(0, {"probe/top1": 0.5, "retrieve/trained/R@1": 0.25})
    report.add_page(page)
    report.close("finished")
    odd = tracking.model_copy(update={"trackers": ("mlflow",), "local": str(folder / "why?")})
    not_there: list[str] = []
    couriers.Couriers(odd, folder / "report", warn=not_there.append).close("finished")
    found |= {
        "tensorboard": tensorboard_kept(folder / "tracked"),
        "wandb": wandb_kept(local / "wandb"),
        "mlflow": mlflow_kept(local),
        "trackio": trackio_kept(folder / "trackio"),
        "sent": called,
        "warned": warned,
        "odd": not_there,
        "at once": tensorboard_has_at_once(folder / "killed"),
    }
    (folder / "found.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
