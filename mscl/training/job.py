"""What the processes of a job are told: one JSON file."""

from pathlib import Path
from typing import ClassVar, Self

from mscl.config.base import Section
from mscl.errors import ConfigError
from mscl.stage.config import RuntimeConfig
from storage.atomic import write_atomic


class Job(Section):
    """What every job shares: it is written by the command and read by each of its processes."""

    kind: ClassVar[str]
    """Names the job in messages."""
    memory_advice: ClassVar[str] = "lower the batch size"
    """What helps where a GPU's memory does not suffice."""

    output_folder: str
    """Gets the results; may hold work to go on with."""
    runtime: RuntimeConfig = RuntimeConfig()

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
