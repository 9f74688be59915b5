"""Experiments on optimisation: one question a file, named after it."""
