"""connect: a connect in stages that can be cancelled anywhere, and then leaves nothing behind."""
