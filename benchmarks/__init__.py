"""A package only for `python -m benchmarks.gpu`: every script here is started as a file."""
