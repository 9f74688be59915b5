"""Experiments on chains: one question a file, named after it."""
