"""Scope: the owner of tasks and resources, in one ledger, released in strict reverse order."""
