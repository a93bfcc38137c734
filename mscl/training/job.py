"""What a training process is told: one JSON file."""

from pathlib import Path
from typing import ClassVar, Self

from mscl.config.base import Section
from mscl.config.flow import ClipConfig
from mscl.config.pretrain import PretrainConfig
from mscl.config.runtime import RuntimeConfig
from mscl.errors import ConfigError
from storage.atomic import write_atomic


class Job(Section):
    """What every training job shares: it is written by the parent and read by each of its processes."""

    kind: ClassVar[str]
    """Names the job in messages."""

    def save(self, path: Path) -> None:
        """Write the job as JSON."""
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, self.model_dump_json(indent=2).encode())

    @classmethod
    def load(cls, path: Path) -> Self:
        """The job in a JSON file.

        Raises:
            ConfigError: no such file, or not a job.
        """
        try:
            return cls.model_validate_json(path.read_bytes())
        except (OSError, ValueError) as error:
            raise ConfigError(f"{cls.kind} job {path} cannot be read: {error}") from error


class PretrainJob(Job):
    """Pre-training on the stores of one extract result with the clips of one screen result."""

    kind: ClassVar[str] = "training"

    extract_folder: str
    """Holds `flow.zarr` and `frames`."""
    manifest_path: str
    screen_path: str
    output_folder: str
    """Gets `checkpoints/`, `metrics.jsonl`, `tensorboard/` and `train.log`; may hold a run to resume."""
    clip: ClipConfig = ClipConfig()
    pretrain: PretrainConfig = PretrainConfig()
    runtime: RuntimeConfig = RuntimeConfig()
