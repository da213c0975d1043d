"""What tests and demonstrations need: servers that fail on purpose."""
