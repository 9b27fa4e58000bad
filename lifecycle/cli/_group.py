"""The command ``lifecycle``, which has the others."""

from __future__ import annotations

import io
import sys
import traceback
from typing import Any

import click
from typing_extensions import override

from lifecycle import __version__

from ._common import BAD_INPUT, INTERRUPTED
from ._streams import failure_of, open_streams
from .show._lines import complain


class Commands(click.Group):
    """Commands that Ctrl-C ends with one line and exit code 130, and whose errors are harmless to a terminal."""

    @override
    def main(self, *args: Any, **settings: Any) -> Any:
        try:
            code = super().main(*args, **{**settings, "standalone_mode": False})
        except click.ClickException as error:
            buffer = io.StringIO()
            error.show(buffer)
            complain(buffer.getvalue().rstrip("\n"))
            code = error.exit_code
        except OSError as error:
            if error.filename is None:
                raise
            complain(f"{error.filename}: {error.strerror}")
            code = BAD_INPUT
        sys.exit(code if isinstance(code, int) else 0)

    @override
    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            complain("lifecycle: interrupted")
            ctx.exit(INTERRUPTED)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="lifecycle")
def cli() -> None:
    """Run flows of jobs that leave nothing behind."""


def main() -> None:
    """Run the command line of this process, and end it."""
    output = open_streams()
    try:
        cli(prog_name="lifecycle")
    except SystemExit as end:
        code = end.code
    except Exception:
        complain(traceback.format_exc().rstrip("\n"))
        code = 1
    if failure := failure_of(output):
        complain(failure)
        code = code or 1
    sys.exit(code)
