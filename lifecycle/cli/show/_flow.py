"""A flow drawn: its jobs by levels, each below all that it needs; as text, and as an SVG image."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from html import escape
from typing import Any, Final

from ...scheduler import Flow
from ...scheduler._blocks.flow import JobSpec
from ...scheduler._ground.text import one_line, plural
from ...scheduler._language.params import Param
from ...scheduler._store.limits import DEFAULT_QUEUE
from ...scheduler._words import duration

NAMED: Final = 8
"""Needs of one job that its line names; the others are counted."""

_WIDE, _TALL, _GAP, _MARGIN = 190, 44, 46, 20
_STYLE: Final = """
text { font: 13px sans-serif; fill: #222; text-anchor: middle } .kind { font-size: 11px; fill: #666 }
rect { fill: #eef3fa; stroke: #567 } .last { fill: #f6eedd }
path { fill: none; stroke: #89a } .may_fail { stroke-dasharray: 4 }
@media (prefers-color-scheme: dark) {
  text { fill: #eee } .kind { fill: #aab } rect { fill: #223044; stroke: #89a } .last { fill: #3d3420 }
}"""


def levels_of(flow: Flow) -> list[list[JobSpec]]:
    """Return the jobs of a flow in levels: each job is one below the lowest that it needs; the most urgent first."""
    level: dict[str, int] = {}
    waiting = list(flow.jobs)
    while waiting:  # without recursion: flows can be long
        name = waiting[-1]
        missing = [needed for needed in flow.jobs[name].needs if needed not in level]
        if name in level or not missing:
            waiting.pop()
            level.setdefault(name, 1 + max((level[needed] for needed in flow.jobs[name].needs), default=-1))
        waiting.extend(missing)
    levels: list[list[JobSpec]] = [[] for _ in range(1 + max(level.values()))]
    for name, spec in flow.jobs.items():
        levels[level[name]].append(spec)
    return [sorted(one, key=lambda spec: -spec.priority) for one in levels]


def as_text(flow: Flow, params: Mapping[str, Any] | None = None) -> list[str]:
    """Return the lines that show a flow, with its parameters: their values where they are given, else what they are."""
    lines = [f"flow {flow.name}: {plural(len(flow.jobs), 'job')}, {plural(len(flow.params), 'parameter')}"]
    if params is None:
        lines += [f"  {_declared(param)}" for param in flow.params.values()]
    else:
        lines += [f"  {name} = {json.dumps(value)}" for name, value in params.items()]
    width = max(len(name) for name in flow.jobs)
    for number, level in enumerate(levels_of(flow), 1):
        last = any(spec.last for spec in level)
        lines.append(f"level {number}{', finally' if last else ''}")
        lines += [f"  {spec.name:<{width}}  {'  '.join(_facts(spec, flow.jobs))}" for spec in level]
    return lines


def _facts(spec: JobSpec, jobs: Mapping[str, JobSpec]) -> list[str]:
    needs = _needs(spec, jobs)
    named = [f"{name} (may fail)" if name in spec.tolerates else name for name in needs[:NAMED]]
    more = [f"{len(needs) - NAMED:,} more"] if len(needs) > NAMED else []
    facts = {
        "needs": ", ".join(named + more),
        "when": "" if spec.when == ("always" if spec.last else "success") else spec.when,
        "queue": "" if spec.queue == DEFAULT_QUEUE else spec.queue,
        "priority": spec.priority or "",
        "delay": duration(spec.delay) if spec.delay else "",
        "retries": spec.retries or "",
        "timeout": duration(spec.block.timeout) if spec.block.timeout else "",
    }
    return [spec.block.kind, *(f"{what} {said}" for what, said in facts.items() if said)]


def _declared(param: Param) -> str:
    value = "required" if param.required else f"default {json.dumps(param.default)}"
    choices = f"one of {', '.join(json.dumps(choice) for choice in param.choices)}" if param.choices else ""
    return "  ".join(filter(None, (param.name, param.type, value, choices, one_line(param.help))))


def plan_of(flow: Flow, params: Mapping[str, Any]) -> dict[str, Any]:
    """Return what would run with these values of the parameters, as a plain table."""
    return {"event": "plan", "flow": flow.name, "params": dict(params), "levels": _levels(flow)}


def as_table(flow: Flow) -> dict[str, Any]:
    """Return a flow, with its parameters as they are declared, as a plain table."""
    params = [asdict(param) for param in flow.params.values()]
    return {"flow": flow.name, "description": flow.description, "params": params, "levels": _levels(flow)}


def _levels(flow: Flow) -> list[list[dict[str, Any]]]:
    return [[_job(spec, flow.jobs) for spec in level] for level in levels_of(flow)]


def _job(spec: JobSpec, jobs: Mapping[str, JobSpec]) -> dict[str, Any]:
    return {
        "job": spec.name,
        "kind": spec.block.kind,
        "needs": _needs(spec, jobs),
        "may_fail": [name for name in spec.needs if name in spec.tolerates],
        "when": spec.when,
        "finally": spec.last,
        "queue": spec.queue,
        "priority": spec.priority,
        "delay": spec.delay,
        "retries": spec.retries,
        "timeout": spec.block.timeout,
    }


def _needs(spec: JobSpec, jobs: Mapping[str, JobSpec]) -> list[str]:
    """Return what a job needs; what is done at last needs all others, which nobody wants to read."""
    return [name for name in spec.needs if not spec.last or jobs[name].last]


def as_svg(flow: Flow) -> str:
    """Return the same as an image that needs nothing else, readable on a light and on a dark page."""
    levels = levels_of(flow)
    widest = max(len(level) for level in levels)
    place = {
        spec.name: (
            _MARGIN + (widest - len(level)) * _WIDE // 2 + column * _WIDE,
            _MARGIN + row * (_TALL + _GAP),
        )
        for row, level in enumerate(levels)
        for column, spec in enumerate(level)
    }
    wide, tall = 2 * _MARGIN + widest * _WIDE, 2 * _MARGIN + len(levels) * (_TALL + _GAP) - _GAP
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {wide} {tall}" width="{wide}" height="{tall}">',
        f"<title>{escape(flow.name)}</title><style>{_STYLE}</style>",
    ]
    parts += [
        _edge(place[needed], place[spec.name], may_fail=needed in spec.tolerates)
        for spec in flow.jobs.values()
        for needed in spec.needs
        if not spec.last or flow.jobs[needed].last
    ]
    parts += [_box(spec, *place[spec.name]) for spec in flow.jobs.values()]
    return "\n".join([*parts, "</svg>", ""])


def _edge(begin: tuple[int, int], end: tuple[int, int], *, may_fail: bool) -> str:
    middle = (_WIDE - _MARGIN) // 2
    (x, y), (to_x, to_y) = begin, end
    x, y, to_x, bend = x + middle, y + _TALL, to_x + middle, _GAP // 2
    dashed = ' class="may_fail"' if may_fail else ""
    return f'<path{dashed} d="M{x} {y} C{x} {y + bend} {to_x} {to_y - bend} {to_x} {to_y}"/>'


def _box(spec: JobSpec, x: int, y: int) -> str:
    width = _WIDE - _MARGIN
    name = spec.name if len(spec.name) <= 24 else f"{spec.name[:23]}…"
    kind = spec.block.kind if spec.when == ("always" if spec.last else "success") else f"{spec.block.kind}, {spec.when}"
    return (
        f'<g><title>{escape(spec.name)}</title><rect x="{x}" y="{y}" width="{width}" height="{_TALL}" rx="6"'
        f"{' class=' + chr(34) + 'last' + chr(34) if spec.last else ''}/>"
        f'<text x="{x + width // 2}" y="{y + 19}">{escape(name)}</text>'
        f'<text class="kind" x="{x + width // 2}" y="{y + 35}">{escape(kind)}</text></g>'
    )
