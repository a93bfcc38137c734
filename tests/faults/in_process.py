"""The `mscl` command in the process of the test: no imports to wait for, and what is not caught is raised."""

from __future__ import annotations

import contextlib
import io
import sys
import warnings
from pathlib import Path


def command(*arguments: str | Path) -> tuple[int, str, str]:
    """Exit code, output and errors of `mscl` in this process; what it does not catch is raised."""
    from flows.cli import app

    out, err = io.StringIO(), io.StringIO()
    before, sys.argv = sys.argv, ["mscl", *map(str, arguments)]
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            app.main()
    except SystemExit as left:
        return int(left.code or 0), out.getvalue(), err.getvalue()
    finally:
        sys.argv = before
    return 0, out.getvalue(), err.getvalue()
