"""The documentation, held to the code: every block runs, every name and every promise is checked."""
