"""A double of the Kubernetes API server, as far as somebody sees it who runs Jobs: for every commit's tests.

It holds Jobs, pods and what belongs to them, guards them as the real server does, and has controllers of its own. It
runs no container: a kubelet that speaks the API does that, or a test writes the status of pods itself. The suite that
runs against it runs against the real server as well; where the two differ, the double is wrong.
"""

from .access import Rule
from .double import Double, api_double
from .faults import Answer, Break, Delay, Fault, Lose, Reset, Slow
from .manners import OLD, TODAY, Manner

__all__ = [
    "OLD",
    "TODAY",
    "Answer",
    "Break",
    "Delay",
    "Double",
    "Fault",
    "Lose",
    "Manner",
    "Reset",
    "Rule",
    "Slow",
    "api_double",
]
