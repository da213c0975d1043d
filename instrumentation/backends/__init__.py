"""The real backends of the tests: provide.py makes them, servers.py starts them."""
