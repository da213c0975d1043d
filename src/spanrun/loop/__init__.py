"""What holds an event loop: how long, where in the code, and who waited for it."""
