"""Experiments on real networks: one question a file, named after it."""
