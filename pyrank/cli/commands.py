"""The command line: the only place that prints. Heavy imports wait until a command needs them."""

from __future__ import annotations

import argparse
import io
import os
import sys
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pyrank.cli.arguments import MISUSED, new_parser
from pyrank.specs.chain import Chain
from pyrank.specs.weights import INITIALIZATIONS, Weights
from pyrank.support.errors import ArgumentError, as_choice, invalid

FAILED, INTERRUPTED, PIPE_CLOSED = 1, 130, 141

_CHAIN = ("batch", "gamma", "activation", "normalization", "dtype")
_SIMULATE = (
    "chains", "seed", "measures", "observe", "initial", "burn_in", "every", "snapshot_every", "trace", "device",
    "backend", "threads", "checkpoint",
)  # fmt: skip


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; return the exit status: 0, 1 failed, 2 wrong argument, 130 interrupted, 141 reader gone."""
    with warnings.catch_warnings():
        warnings.showwarning = _show_warning
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(errors="replace")  # a terminal without "±" is no reason to lose a result
        try:
            status = _dispatch(argv)
            sys.stdout.flush()
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or the flush at exit would complain
            return PIPE_CLOSED
        return status


def _dispatch(argv: Sequence[str] | None) -> int:
    try:
        arguments = new_parser().parse_args(argv)
        return _COMMANDS[arguments.command](arguments)
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else 0
    except BrokenPipeError:
        raise
    except ArgumentError as error:
        return _fail(error, MISUSED)
    except (ImportError, FloatingPointError, MemoryError, OSError) as error:
        return _fail(error, FAILED)
    except RuntimeError as error:
        from pyrank.engine.checkpoint import CheckpointError

        if not isinstance(error, CheckpointError):
            raise
        return _fail(error, FAILED)
    except KeyboardInterrupt as stop:
        return _fail(str(stop) or "interrupted", INTERRUPTED)


def _fail(message: object, status: int) -> int:
    _say(str(message) or type(message).__name__)
    return status


def _say(message: str) -> None:
    """Print one line to stderr, whatever the message contains."""
    print(f"pyrank: {' '.join(message.split())}", file=sys.stderr)


def _show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    _say(f"warning: {message}")


def _simulate(arguments: argparse.Namespace) -> int:
    given = vars(arguments)
    target, picture = given.get("json"), given.get("plot")
    chain = Chain(arguments.width, weights=_weights(given), **_chosen(given, _CHAIN))

    from pyrank.support.files import check_file, json_text, write

    if target not in (None, "-"):
        check_file("--json", Path(target))
    if picture is not None:
        check_file("--plot", Path(picture))
        form = _form(picture, given)

    from pyrank.engine.simulation import simulate

    run = simulate(chain, arguments.depth, **_chosen(given, _SIMULATE))
    try:
        if target not in (None, "-"):
            write(Path(target), json_text(run.to_dict()))
        if picture is not None:
            from pyrank.plotting import rendered

            write(Path(picture), rendered(run.plot(), form))
    finally:  # a file that cannot be written is no reason to lose the result
        print(json_text(run.to_dict()) if target == "-" else f"{run}\n", end="")
    return 0


def _form(picture: str, given: dict[str, Any]) -> str:
    """Return the form of a figure, or raise what would keep it from being drawn after a long run."""
    from pyrank.plotting import FORMS, require

    form = Path(picture).suffix.removeprefix(".").lower()
    if form not in FORMS:
        raise invalid(
            "--plot", picture, f"a name that ends in {' or '.join(f'.{name}' for name in FORMS)}", "rename it"
        )
    if given.get("measures") == []:
        raise invalid("--plot", picture, "a run that measures something", "leave out --plot, or name a --measure")
    require()
    return form


def _weights(given: dict[str, Any]) -> Weights:
    named = INITIALIZATIONS[as_choice("weights", given.get("weights", "gaussian"), tuple(INITIALIZATIONS))]
    fields = {"weight_mean": "mean", "weight_scale": "scale"}
    return replace(named, **{field: given[name] for name, field in fields.items() if name in given})


def _chosen(given: dict[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """Return what the user gave: the library alone knows the defaults."""
    return {name: given[name] for name in names if name in given}


def _reproduce(arguments: argparse.Namespace) -> int:
    from pyrank import experiments

    if arguments.list:
        wide = max(map(len, experiments.EXPERIMENTS))
        for name in experiments.EXPERIMENTS:
            print(f"{name:<{wide}}  {experiments.question(name)}")
        return 0
    if arguments.name is None:
        raise ArgumentError(f"NAME is missing: expected all or one of {', '.join(experiments.EXPERIMENTS)}; "
                            "see `pyrank reproduce --list`")  # fmt: skip
    if arguments.name == "all":
        return _reproduce_all(arguments)
    experiment = experiments.load(arguments.name)
    result = experiments.reproduce(experiment, arguments.preset, arguments.out, device=arguments.device)

    from pyrank.experiments.claims import claims_text

    print(result.table, claims_text(result.claims), sep="\n\n")
    print("\nwritten:", *(f"  {path}" for path in result.files), sep="\n")
    return 0


def _reproduce_all(arguments: argparse.Namespace) -> int:
    from pyrank.experiments import reproduce_all

    overview = reproduce_all(arguments.preset, arguments.out, device=arguments.device)
    print(overview, f"written: {overview.page}", sep="\n\n")
    for outcome in overview.failed:
        _say(f"{outcome.name} failed: {outcome.error}")
    return FAILED if overview.failed else 0


def _info(_arguments: argparse.Namespace) -> int:
    from pyrank.engine.config import show_config

    print(show_config())
    return 0


_COMMANDS = {"simulate": _simulate, "reproduce": _reproduce, "info": _info}
