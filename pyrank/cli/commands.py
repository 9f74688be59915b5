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
from pyrank.support.errors import ArgumentError, GpuError, as_choice, invalid
from pyrank.support.files import NotWritten, check_file, json_text, write_all
from pyrank.support.signals import number_of, raised

FAILED, SIGNALLED, PIPE_CLOSED = 1, 128, 141
MOST_LINES = 5
"""Files that could not be written are told in as many lines."""

_CHAIN = ("batch", "gamma", "activation", "normalization", "dtype")
_SIMULATE = (
    "chains", "seed", "measures", "observe", "initial", "burn_in", "every", "snapshot_every", "trace", "device",
    "backend", "threads", "checkpoint",
)  # fmt: skip


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; return the exit status.

    0, 1 failed or a file not written, 2 wrong argument, 130 interrupted, 143 terminated, 141 reader gone.
    """
    unwritten: list[str] = []

    def show(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
        if issubclass(category, NotWritten):
            unwritten.append(str(message))  # to be told below the result
        else:
            _say(f"warning: {message}")

    with warnings.catch_warnings():
        warnings.showwarning = show
        warnings.simplefilter("always", NotWritten)
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(errors="replace")  # a terminal without "±" is no reason to lose a result
        try:
            with raised():
                status = _printed(argv)
        except KeyboardInterrupt as stop:  # so early that nothing has begun, or so late that nothing is left to do
            status = _fail(str(stop) or "interrupted", SIGNALLED + number_of(stop))
    for line in unwritten[:MOST_LINES]:
        _say(line)
    if len(unwritten) > MOST_LINES:
        _say(f"not written: {len(unwritten) - MOST_LINES} more")
    return status or (FAILED if unwritten else 0)


def _printed(argv: Sequence[str] | None) -> int:
    """Run a command, up to where somebody has taken what it printed."""
    try:
        status = _dispatch(argv)
        sys.stdout.flush()
        return status
    except BrokenPipeError:
        _print_nothing_more()
        return PIPE_CLOSED
    except OSError as error:
        _print_nothing_more()
        return _fail(f"the output cannot be written ({error.strerror}); send it to another place", FAILED)


def _print_nothing_more() -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or the flush at exit would complain


def _dispatch(argv: Sequence[str] | None) -> int:
    try:
        arguments = new_parser().parse_args(argv)
        return _COMMANDS[arguments.command](arguments)
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else 0
    except ArgumentError as error:
        return _fail(error, MISUSED)
    except OSError as error:
        if error.filename is None:  # it is of no file, but of what is printed
            raise
        return _fail(error, FAILED)
    except (ImportError, FloatingPointError, MemoryError, GpuError) as error:
        return _fail(error, FAILED)
    except RuntimeError as error:
        from pyrank.engine.checkpoint import CheckpointError
        from pyrank.experiments.tasks import TaskError
        from pyrank.studies.pool import CannotStartError

        if not isinstance(error, CheckpointError | TaskError | CannotStartError):
            raise
        return _fail(error, FAILED)
    except KeyboardInterrupt as stop:
        return _fail(str(stop) or "interrupted", SIGNALLED + number_of(stop))


def _fail(message: object, status: int) -> int:
    _say(str(message) or type(message).__name__)
    return status


def _say(message: str) -> None:
    """Print one line to stderr, whatever the message contains."""
    print(f"pyrank: {' '.join(message.split())}", file=sys.stderr)


def _simulate(arguments: argparse.Namespace) -> int:
    given = vars(arguments)
    target, picture = given.get("json"), given.get("plot")
    chain = Chain(arguments.width, weights=_weights(given), **_chosen(given, _CHAIN))

    if target not in (None, "-"):
        check_file("--json", Path(target))
    if picture is not None:
        check_file("--plot", Path(picture))
        form = _form(picture, given)

    from pyrank.engine.simulation import simulate

    run = simulate(chain, arguments.depth, **_chosen(given, _SIMULATE))
    try:
        if target not in (None, "-"):
            _write(Path(target), json_text(run.to_dict()))
        if picture is not None:
            from pyrank.plotting import rendered

            _write(Path(picture), rendered(run.plot(), form))
    finally:  # whatever happens there is no reason to lose the result
        print(json_text(run.to_dict()) if target == "-" else f"{run}\n", end="")
    return 0


def _write(path: Path, content: str | bytes) -> None:
    unwritten = write_all({path: content})[1]
    if unwritten:
        warnings.warn(unwritten, NotWritten, stacklevel=2)


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
        for title, names in experiments.by_chapter(experiments.EXPERIMENTS).items():
            print(title)
            for name in names:
                print(f"  {name:<{wide}}  {experiments.question(name)}")
        return 0
    if arguments.name is None:
        raise ArgumentError(f"NAME is missing: expected all or one of {', '.join(experiments.EXPERIMENTS)}; "
                            "see `pyrank reproduce --list`")  # fmt: skip
    if arguments.name == "all":
        return _reproduce_all(arguments)
    experiment = experiments.load(arguments.name)
    result = experiments.reproduce(
        experiment, arguments.preset, arguments.out, device=arguments.device, workers=arguments.workers
    )

    from pyrank.experiments.claims import claims_text

    print(result.table, claims_text(result.claims), sep="\n\n")
    if result.files:
        print("\nwritten:", *(f"  {path}" for path in result.files), sep="\n")
    return 0


def _reproduce_all(arguments: argparse.Namespace) -> int:
    from pyrank.experiments import reproduce_all

    overview = reproduce_all(arguments.preset, arguments.out, device=arguments.device, workers=arguments.workers)
    print(overview, *[f"written: {overview.page}"] * overview.written, sep="\n\n")
    for outcome in overview.failed:
        _say(f"{outcome.name} failed: {outcome.error}")
    return FAILED if overview.failed else 0


def _monitor(arguments: argparse.Namespace) -> int:
    given = vars(arguments)
    picture = given.get("plot")
    if picture is not None:
        check_file("--plot", Path(picture))
        form = _form(picture, given)

    from pyrank.cli.watching import watch

    options = ("network", "data", "shape", "samples", "seed", "measures")
    monitor = watch(**_chosen(given, options))
    try:
        if picture is not None:
            from pyrank.plotting import rendered

            _write(Path(picture), rendered(monitor.plot(), form))
    finally:
        print(monitor)
    return 0


def _study(arguments: argparse.Namespace) -> int:
    from pyrank.cli import studies

    if arguments.action == "run":
        text, done = studies.run_study(arguments)
        print(text)
        return 0 if done else FAILED
    if arguments.action == "status":
        print(studies.show_status(arguments))
        return 0
    text, unwritten = studies.show_table(arguments)
    if unwritten:
        warnings.warn(unwritten, NotWritten, stacklevel=2)
    print(text)
    return 0


def _hessian(arguments: argparse.Namespace) -> int:
    from pyrank.cli.sharpness import sharpness

    print(sharpness(**_chosen(vars(arguments), ("network", "data", "samples", "seed", "k"))))
    return 0


def _info(_arguments: argparse.Namespace) -> int:
    from pyrank.engine.config import show_config

    print(show_config())
    return 0


_COMMANDS = {
    "simulate": _simulate, "reproduce": _reproduce, "monitor": _monitor, "hessian": _hessian, "study": _study,
    "info": _info,
}  # fmt: skip
