"""``python -m lifecycle`` and the command ``lifecycle``."""

from __future__ import annotations

import signal
import sys


def main() -> None:
    """Run the command line, or say what to install for it."""
    if sys.argv[1:2] in (["serve"], ["worker"]):
        _ignore_service_signals()
    try:
        from .cli import main as command_line
    except KeyboardInterrupt:  # the import takes the longest part of most commands, which say the same
        sys.stderr.write("lifecycle: interrupted\n")
        sys.exit(130)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] not in ("click", "rich", "cronsim"):
            raise
        needs = f"lifecycle: the command line needs {error.name}: pip install 'asyncio-lifecycle[scheduler]'"
        sys.stderr.write(f"{needs}\n")
        sys.exit(2)
    command_line()


def _ignore_service_signals() -> None:
    """Let SIGHUP and SIGUSR1 not end a service before it takes them, or when it takes them no more.

    The import takes most of a start. Flows are read after it, so that a SIGHUP has nothing to ask for yet.
    """
    for name in ("SIGHUP", "SIGUSR1"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)


if __name__ == "__main__":
    main()
