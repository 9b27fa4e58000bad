"""The guarantees, one by one, put to the test; docs/explanation/guarantees.md names these tests."""
