"""keep_connected: a connection that is made again whenever it is lost, one at a time."""
