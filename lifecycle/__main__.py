"""``python -m lifecycle`` and the command ``lifecycle``."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line, or say what to install for it."""
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


if __name__ == "__main__":
    main()
