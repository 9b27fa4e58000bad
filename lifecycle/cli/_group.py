"""The command ``lifecycle``, which has the others."""

from __future__ import annotations

from typing import Any

import click
from typing_extensions import override

from lifecycle import __version__

from ._common import INTERRUPTED


class Commands(click.Group):
    """Commands that Ctrl-C ends with one line and exit code 130, as long as they do nothing else with it."""

    @override
    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            click.echo("lifecycle: interrupted", err=True)
            ctx.exit(INTERRUPTED)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="lifecycle")
def cli() -> None:
    """Run flows of jobs that leave nothing behind."""
