"""What speaks with Kubernetes, held to one suite against the real API server and against a double of it."""
