"""Commands that look at every value before they begin: what no store, file or clock can take is bad usage."""

from __future__ import annotations

import math
from collections import Counter
from typing import Final

import click
from typing_extensions import override

MOST: Final = 2**53
"""The largest number: that of SQLite and of JSON alike."""


def problem_of(value: object) -> str | None:
    """Return what is wrong with a value of whatever option, None if nothing is."""
    if isinstance(value, (list, tuple)):
        return next(filter(None, map(problem_of, value)), None)
    if isinstance(value, float) and math.isnan(value):
        return "not a number"
    if isinstance(value, int) and abs(value) > MOST:
        return f"more than {MOST:,}"
    if isinstance(value, str) and ("\0" in value or any("\ud800" <= one <= "\udfff" for one in value)):
        return "not a text in UTF-8"
    return None


class Command(click.Command):
    """A command whose values are all right. What may be a path, in any encoding, is ``click.UNPROCESSED``.

    An option with one value is given once: of two, as in ``cancel --run 1 --run 2``, one would be dropped in silence.
    """

    @override
    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        order = self.make_parser(ctx).parse_args(list(args))[2]
        for param, times in Counter(order).items():
            if times > 1 and isinstance(param, click.Option) and not (param.multiple or param.is_flag or param.count):
                raise click.UsageError(f"{max(param.opts, key=len)} is given twice", ctx)
        rest = super().parse_args(ctx, args)
        for param in self.get_params(ctx):
            problem = None if param.type is click.UNPROCESSED else problem_of(ctx.params.get(param.name or ""))
            if problem is not None:
                raise click.BadParameter(problem, ctx, param)
        return rest


class Group(click.Group):
    """A group of such commands."""

    command_class = Command
