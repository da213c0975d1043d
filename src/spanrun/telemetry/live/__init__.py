"""What open runners do at this moment, for a reader in another process."""
