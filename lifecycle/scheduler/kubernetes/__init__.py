"""Jobs on Kubernetes clusters: created once, followed to an end that has a reason, cleaned up on every way out.

Needs ``kubernetes_asyncio``: ``pip install 'asyncio-lifecycle[kubernetes]'``.
"""

from .._ground.names import show_at
from ._cluster import Cluster
from ._host import Kubernetes, KubernetesStatistics
from ._job import KubernetesJob, job_manifest

__all__ = ["Cluster", "Kubernetes", "KubernetesJob", "KubernetesStatistics", "job_manifest"]

show_at(globals(), __all__)


def __dir__() -> list[str]:
    return [*__all__]
