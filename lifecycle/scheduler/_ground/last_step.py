"""The last step: what is called as soon as a frame lets go, which some loop has called and none will call again."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection
from types import FrameType
from typing import Any


def call_when_left(frames: Collection[FrameType | None], instead: Callable[[], object]) -> None:
    """Have *instead* called when the outermost of *frames* that is being run here returns, raises or is suspended.

    For a process that ends with that: what watches the frame is never taken away.
    """
    frame: FrameType | None = sys._getframe()
    outermost = None
    while frame is not None:
        if frame in frames:
            outermost = frame
        frame = frame.f_back
    if outermost is not None:
        _watch(outermost, instead)


if sys.version_info >= (3, 12):

    def _watch(frame: FrameType, instead: Callable[[], object]) -> None:
        monitoring = sys.monitoring
        events = monitoring.events

        def left(*_: Any) -> None:
            if sys._getframe(1) is frame:  # and not another one of the same code
                instead()

        tool = next(number for number in (4, 3, 2, 1, 0) if monitoring.get_tool(number) is None)
        monitoring.use_tool_id(tool, __name__)
        for event in (events.PY_YIELD, events.PY_RETURN, events.PY_UNWIND):
            monitoring.register_callback(tool, event, left)
        monitoring.set_local_events(tool, frame.f_code, events.PY_YIELD | events.PY_RETURN)
        monitoring.set_events(tool, events.PY_UNWIND)

else:

    def _watch(frame: FrameType, instead: Callable[[], object]) -> None:
        def left(of: FrameType, event: str, _: Any) -> None:
            if event == "return" and of is frame:  # also when it raises, or is suspended
                instead()

        sys.setprofile(left)
