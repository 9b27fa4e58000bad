"""The scheduler's own jobs on Kubernetes: one suite, against the double and against the real API server."""
