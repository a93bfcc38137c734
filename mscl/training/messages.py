"""What the processes of a job tell the command that started them: lines of JSON in a file of its own, beside the log.

The log is for people. It holds whatever any library prints, so nothing is concluded from its words.
"""

import os
import sys
from contextlib import suppress
from pathlib import Path

from pydantic import BaseModel, ValidationError

from storage.json_lines import JsonLinesFollower, append_json_line

MESSAGES_VARIABLE = "MSCL_MESSAGES"
"""Environment variable with the path of the file; without it a process tells the log alone."""


class Message(BaseModel):
    """One line; the fields that are set say what it is about."""

    rank: int = 0
    say: str = ""
    """For the user, while the work goes on."""
    error: str = ""
    """What the user can mend, in one line; the process ends."""
    card: str = ""
    """The GPU that failed, as in cuda:1; `error` says how."""
    failure: str = ""
    """Traceback of the rank that failed first, or nothing but its exit code."""
    exit_code: int = 0
    """Of the rank that failed first."""


def tell(message: Message) -> None:
    """Send a message to the command."""
    if path := os.environ.get(MESSAGES_VARIABLE):
        append_json_line(Path(path), message.model_dump(exclude_defaults=True))


def say(text: str) -> None:
    """Tell the user something while the work goes on: on the console, and in the log; not if their disk is full."""
    with suppress(OSError):
        print(text, file=sys.stderr, flush=True)
    with suppress(OSError):
        tell(Message(rank=int(os.environ.get("RANK", "0")), say=text))


class Inbox:
    """The command's end: messages of one job's processes."""

    def __init__(self, log: Path) -> None:
        self.path = log.with_name(f".{log.stem}.messages.jsonl")
        self.path.unlink(missing_ok=True)
        self._lines = JsonLinesFollower(self.path)

    def new(self) -> list[Message]:
        """Messages since the last call."""
        found = []
        for row in self._lines.new_rows():
            try:
                found.append(Message.model_validate(row))
            except ValidationError:
                continue
        return found

    def close(self) -> None:
        """Remove the file."""
        self._lines.close()
        self.path.unlink(missing_ok=True)
