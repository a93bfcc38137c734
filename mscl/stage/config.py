"""Where and how fast to compute. Nothing here changes a result, and nothing here is part of a key."""

import re
from typing import Literal

from pydantic import Field, model_validator

from mscl.config.base import NaturalInt, PositiveInt, Section
from mscl.devices import DeviceChoice

TRACKERS = ("tensorboard", "wandb", "mlflow", "trackio")


class RuntimeConfig(Section):
    """The machine's part of the configuration."""

    device: DeviceChoice = "auto"
    """Where networks and flow are computed; `auto`: CUDA where there is a GPU, else the CPU."""
    gpus: tuple[NaturalInt, ...] = ()
    """GPUs to use on each node, by the numbers that PyTorch gives them, from 0; empty: all that are visible."""
    workers: int = Field(default=0, ge=0)
    """Processes that decode and compute flow; 0: one per core."""
    loader_workers: Literal["auto"] | NaturalInt = "auto"
    """Processes that load samples for each training process; `auto`: 1 on a CPU, and beside GPUs the cores divided by
    the processes, less one. Without any, the training process loads them itself."""
    video_cache: str = ""
    """Folder where videos are kept that `data.root` has in object storage; every run of this machine may use the same.
    Empty: `~/.cache/mscl/videos`, or below XDG_CACHE_HOME."""
    video_cache_gb: float = Field(default=20, gt=0)
    """How much is kept there, in 10^9 bytes: what was used longest ago goes first, and comes again when it is needed. A
    video that is being decoded stays, whatever there is."""
    threads: int = Field(default=0, ge=0)
    """Threads of one training process; 0: cores divided by processes. Another number rounds differently: with 1 a run
    repeats bit by bit."""
    processes: int = Field(default=0, ge=0)
    """Training processes on this node; 0: one per GPU, one on CPU."""
    nodes: PositiveInt = 1
    """Nodes of torch elastic."""
    rendezvous: str = ""
    """host:port of the torch elastic rendezvous; needed for more than one node."""
    trackers: tuple[str, ...] = ("tensorboard",)
    """Where curves, settings and lineage of trainings go, and the report: tensorboard, wandb, mlflow, trackio (each but
    the first an extra of that name), or `module:function` for one's own. Nothing leaves this machine before a tracker's
    own environment variable says where to. Empty: nowhere."""
    task_runner: Literal["threads", "ray", "dask"] = "threads"
    """Who works on shards in extract and motion: processes of this machine, or a Ray or Dask cluster."""
    cluster: str = ""
    """Address of the Ray or Dask cluster, ray://head:10001 or tcp://scheduler:8786; empty: one on this machine."""
    runs_per_workspace: int = Field(default=1, ge=0)
    """Prefect's runs only: how many may work in one workspace at a time, others wait; 0: no limit."""
    pools: dict[str, str] = Field(default={})
    """Prefect's runs only: stage -> work pool that it runs on, `{pretrain: gpu}`; others run with the pipeline."""
    pause_before: tuple[str, ...] = ()
    """Prefect's runs only: stages before which the run waits until somebody resumes it in the UI, such as pretrain:
    look at the motion page, then spend the GPU. Stages that are done do not wait."""
    retries: int = Field(default=0, ge=0)
    """Prefect's runs only: how often a stage that failed is begun again, from what it has done."""
    retry_delay_seconds: float = Field(default=60, ge=0)
    """Seconds before each of these retries."""
    timeout_minutes: float = Field(default=0, ge=0)
    """Prefect's runs only: a stage that takes longer is stopped, keeps what is done, and fails its run; 0: no limit."""

    @model_validator(mode="after")
    def _gpus_are_gpus(self) -> "RuntimeConfig":
        if self.gpus and self.device == "cpu":
            raise ValueError(f"gpus is {list(self.gpus)} and device is cpu; leave gpus empty, or take device=cuda")
        if len(set(self.gpus)) < len(self.gpus):
            raise ValueError(f"gpus {list(self.gpus)} names one twice; name each once")
        return self

    @model_validator(mode="after")
    def _trackers_are_known(self) -> "RuntimeConfig":
        for name in self.trackers:
            if name not in TRACKERS and not re.fullmatch(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*", name):
                raise ValueError(f"tracker {name!r} is unknown; take {', '.join(TRACKERS)} or module:function")
        if len(set(self.trackers)) < len(self.trackers):
            raise ValueError(f"trackers {list(self.trackers)} names one twice; name each once")
        return self
