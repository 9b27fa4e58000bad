"""ReaderWorker and link: loops that share a connection and end together."""
