"""The command ``lifecycle``, which has the others."""

from __future__ import annotations

import click

from lifecycle import __version__


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="lifecycle")
def cli() -> None:
    """Run flows of jobs that leave nothing behind."""
