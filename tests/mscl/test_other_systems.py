"""Where modules are missing that only Unix has, the library is still imported; what needs them says so."""

import subprocess
import sys

CODE = """
import sys
for name in ("fcntl", "resource", "termios", "pwd", "grp"):
    sys.modules[name] = None
import os, signal
del signal.SIGKILL, os.O_CLOEXEC, os.O_DIRECTORY
import kernels.flow, kernels.motion, mscl.api, mscl.clips.export, mscl.losses, mscl.models.mscl, mscl.screening
from storage.locks import take_lock
try:
    take_lock(0, wait=False)
except OSError as error:
    print(error)
"""


def test_the_library_is_imported_without_modules_of_unix() -> None:
    run = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert "WSL" in run.stdout
