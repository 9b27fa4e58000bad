"""Jobs on Kubernetes, piece by piece; with a cluster they are in ``tests/kubernetes/jobs``."""
