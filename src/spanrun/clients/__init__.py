"""Clients of services. Each call passes through a runner; none retries by itself."""
