"""What waits to be sent, in memory and on disk, until it is acknowledged."""
