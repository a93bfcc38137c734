"""The `mscl` command as a process of its own."""

import gc
import os
import signal
import sys

from flows.cli import interrupted

WAIT = "mscl ..."
ERASED = "\r\x1b[2K"
USER_ERROR = 2


def main() -> None:
    """Run the command line; from the first import on it shows that it lives, and answers Ctrl-C."""
    _speak_utf8()
    _hold_closed_streams()
    # What a shell asks for completion must not write into the line that is typed.
    is_seen = sys.stderr.isatty() and os.environ.get("TERM") != "dumb" and "_MSCL_COMPLETE" not in os.environ
    try:
        if is_seen:
            print(WAIT, end="", file=sys.stderr, flush=True)
        try:
            from flows.cli.app import main as run
        finally:
            if is_seen:
                print(ERASED, end="", file=sys.stderr, flush=True)

        run()
    except KeyboardInterrupt:
        print(interrupted.SAID, file=sys.stderr)
        sys.exit(interrupted.CODE)
    except ImportError as error:
        if error.name != "kernels":
            raise
        print(f"mscl: {error}", file=sys.stderr)  # another package has taken the place of ours
        sys.exit(USER_ERROR)
    finally:
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, signal.SIG_DFL)  # all is said; a second Ctrl-C would be a traceback
        # Python's last collection would take every object of PyTorch apart; `benchmarks.process_end` measures it.
        gc.freeze()


def _speak_utf8() -> None:
    """Begin again in UTF-8 where the locale has another encoding (`LC_ALL=en_US`).

    Names of files are the same then whatever the locale is, and our own files are read as they were written; worker
    processes inherit it. Python does the same by itself for the locale "C".
    """
    if sys.getfilesystemencoding() != "utf-8" and not sys.flags.utf8_mode:
        os.environ["PYTHONUTF8"] = "1"
        os.execv(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]])


def _hold_closed_streams() -> None:
    """Open what the command was started without (`2>&-`): else its next file gets that number, and all that is said."""
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # it takes the lowest number
            setattr(sys, name, os.fdopen(number, mode, closefd=False))


if __name__ == "__main__":
    main()
