"""The process of `mscl` ends at once, and yet with everything said, written and cleaned up."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from flows.cli.command import ERASED, WAIT

ROOT = Path(__file__).parents[3]
WORK = """
import signal; signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where pytest runs in the background
import atexit, sys, threading, time
import flows.cli.app

def work():
    def late():
        time.sleep(0.2)
        print("thread ended")
    threading.Thread(target=late).start()
    atexit.register(print, "cleaned up")
    print("worked")
    {ending}

flows.cli.app.main = work
from flows.cli.command import main
main()
"""


def run(code: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize(
    ("ending", "code"),
    [("sys.exit(0)", 0), ("sys.exit(7)", 7), ("sys.exit()", 0), ("sys.exit('why')", 1), ("1 / 0", 1)],
)
def test_threads_end_and_clean_up_comes_before_the_end(ending: str, code: int) -> None:
    ended = run(WORK.format(ending=ending))
    assert ended.returncode == code
    assert ended.stdout.split("\n") == ["worked", "thread ended", "cleaned up", ""]
    assert ("ZeroDivisionError" in ended.stderr) == (ending == "1 / 0")
    assert ("why" in ended.stderr) == ("why" in ending)


def test_the_command_has_its_codes() -> None:
    command = "from flows.cli.command import main; main()"
    assert run(command, "--version").stdout.startswith("mscl ")
    wrong = run(command, "nosuch")
    assert wrong.returncode == 2 and "No such command 'nosuch'" in wrong.stderr


def test_a_closed_stream_takes_no_file_of_ours_and_a_full_one_is_said(tmp_path: Path) -> None:
    # What the command opens next would get the number of its error stream, and with it all that is said there.
    begin = """
import os, sys, flows.cli.app
def work():
    file = open("result.bin", "wb")
    print(file.fileno() > 2)
    os.write(2, b"said by a decoder")
    print("and by us", file=sys.stderr)
    os.system("echo and by a child >&2")
flows.cli.app.main = work
from flows.cli.command import main
main()
"""
    shell = f"{sys.executable} -c '{begin}' 2>&-"
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    ended = subprocess.run(["bash", "-c", shell], capture_output=True, cwd=tmp_path, env=environment, timeout=60)
    assert ended.returncode == 0 and ended.stdout == b"True\n" and (tmp_path / "result.bin").read_bytes() == b""
    with Path("/dev/full").open("w") as full:
        said = subprocess.run(
            [sys.executable, "-m", "flows.cli.command", "presets"], stdout=full, stderr=subprocess.PIPE, text=True,
            cwd=ROOT, timeout=60,
        )  # fmt: skip
    (line,) = said.stderr.splitlines()
    assert said.returncode == 2 and "standard output: No space left" in line


def test_another_encoding_of_the_locale_changes_no_name(tmp_path: Path) -> None:
    code = (
        "import flows.cli.app, os; flows.cli.app.main = lambda: print(ascii(os.listdir()), open('a', 'w').encoding)\n"
    )
    (tmp_path / "caf\u00e9").touch()
    # Stands for a locale of Latin-1, which a machine may lack.
    other = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0", "PYTHONPATH": str(ROOT)}
    found = subprocess.run(
        [sys.executable, "-c", code + "from flows.cli.command import main; main()", "caf\u00e9"],
        cwd=tmp_path, env=os.environ | other, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert found.stdout == "['caf\\xe9'] utf-8\n", found.stderr


def test_a_second_ctrl_c_while_the_command_ends_is_no_traceback() -> None:
    ending = "atexit.register(lambda: [os.kill(os.getpid(), 2), time.sleep(5)]); raise KeyboardInterrupt"
    ended = run(WORK.format(ending=ending).replace("import atexit", "import os, atexit"))
    assert (
        ended.returncode == -2 and ended.stderr == "\nmscl: stopped; the same command continues where this one ended.\n"
    )


def test_a_terminal_shows_that_something_comes_before_anything_is_imported() -> None:
    def shown(**variables: str) -> bytes:
        ours, theirs = os.openpty()
        code = "import sys; sys.argv = ['mscl', '--version']; from flows.cli.command import main; main()"
        environment = os.environ | {"TERM": "xterm"} | variables
        subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=theirs, env=environment, timeout=60)
        os.close(theirs)
        try:
            return os.read(ours, 1000)
        except OSError:  # nothing was written
            return b""
        finally:
            os.close(ours)

    assert shown() == (WAIT + ERASED).encode()
    assert shown(TERM="dumb") == b""
    assert WAIT.encode() not in shown(_MSCL_COMPLETE="complete_bash", COMP_WORDS="mscl ", COMP_CWORD="1")


def test_ctrl_c_while_modules_are_imported_says_that_it_stopped() -> None:
    interrupted = run(
        """
import sys

class Interrupting:
    def find_spec(self, name, path=None, target=None):
        if name == "flows.cli.app":
            raise KeyboardInterrupt

sys.meta_path.insert(0, Interrupting())
from flows.cli.command import main
main()
"""
    )
    assert interrupted.returncode == 130
    assert interrupted.stderr == "\nmscl: stopped; the same command continues where this one ended.\n"


def test_another_package_of_the_name_kernels_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "kernels").mkdir()
    (tmp_path / "kernels" / "__init__.py").write_text("# Hugging Face's, installed after ours\n")
    code = "from flows.cli.command import main; main()"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])}
    found = subprocess.run(
        [sys.executable, "-c", code, "ls"], capture_output=True, text=True, cwd=tmp_path, env=environment, timeout=60
    )
    (line,) = found.stderr.splitlines()
    assert found.returncode == 2
    assert str(tmp_path / "kernels") in line and "pip uninstall kernels" in line
