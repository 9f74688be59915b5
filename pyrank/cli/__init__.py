"""The command line: arguments and commands; the only part that prints."""

from pyrank.cli.commands import main

__all__ = ["main"]
