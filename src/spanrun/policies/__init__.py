"""Policies: immutable values, each with the layer that it becomes in a runner."""
