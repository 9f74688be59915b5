"""The command line: the only place that prints. Heavy imports wait until a command needs them."""

from __future__ import annotations

import argparse
import functools
import io
import os
import sys
import warnings
from collections.abc import Iterable, Sequence
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, NoReturn

from pyrank._version import __version__
from pyrank.chain import ACTIVATIONS, DTYPES, NORMALIZATIONS, WEIGHT_LAWS, Chain, Weights
from pyrank.errors import ArgumentError
from pyrank.measures import SCALAR_MEASURES, SNAPSHOT_MEASURES, THRESHOLD_MEASURES
from pyrank.plan import POINTS

FAILED, MISUSED, INTERRUPTED, PIPE_CLOSED = 1, 2, 130, 141
LARGEST = 2**64

_CHAIN = ("batch", "gamma", "activation", "normalization", "dtype")
_SIMULATE = ("chains", "seed", "measures", "initial", "burn_in", "every", "trace", "backend", "threads", "checkpoint")


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
        arguments = _parser().parse_args(argv)
        arguments.command(arguments)
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else 0
    except BrokenPipeError:
        raise
    except ArgumentError as error:
        return _fail(error, MISUSED)
    except (ImportError, FloatingPointError, MemoryError, OSError) as error:
        return _fail(error, FAILED)
    except RuntimeError as error:
        from pyrank.checkpoint import CheckpointError

        if not isinstance(error, CheckpointError):
            raise
        return _fail(error, FAILED)
    except KeyboardInterrupt as stop:
        return _fail(str(stop) or "interrupted", INTERRUPTED)
    return 0


def _fail(message: object, status: int) -> int:
    _say(str(message) or type(message).__name__)
    return status


def _say(message: str) -> None:
    """Print one line to stderr, whatever the message contains."""
    print(f"pyrank: {' '.join(message.split())}", file=sys.stderr)


def _show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    _say(f"warning: {message}")


# --- commands --------------------------------------------------------------------------------------------------------


def _simulate(arguments: argparse.Namespace) -> None:
    given = vars(arguments)
    target = given.get("json")
    chain = Chain(arguments.width, weights=_weights(given), **_chosen(given, _CHAIN))

    from pyrank.experiments.output import check_file, json_text, write

    if target not in (None, "-"):
        check_file("--json", Path(target))

    from pyrank.simulation import simulate

    run = simulate(chain, arguments.depth, **_chosen(given, _SIMULATE))
    if target == "-":
        sys.stdout.write(json_text(run.to_dict()))
        return
    if target is not None:
        write(Path(target), json_text(run.to_dict()))
    print(run)


def _weights(given: dict[str, Any]) -> Weights:
    names = {"weights": "law", "weight_mean": "mean", "weight_scale": "scale"}
    return Weights(**{field: given[name] for name, field in names.items() if name in given})


def _chosen(given: dict[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """Return what the user gave: the library alone knows the defaults."""
    return {name: given[name] for name in names if name in given}


def _reproduce(arguments: argparse.Namespace) -> None:
    from pyrank import experiments

    if arguments.list:
        wide = max(map(len, experiments.EXPERIMENTS))
        for name, question in experiments.EXPERIMENTS.items():
            print(f"{name:<{wide}}  {question}")
        return
    if arguments.name is None:
        raise ArgumentError(f"NAME is missing: expected one of {', '.join(experiments.EXPERIMENTS)}; "
                            "see `pyrank reproduce --list`")  # fmt: skip
    result = experiments.reproduce(arguments.name, arguments.preset, arguments.out)

    from pyrank.experiments.claims import claims_text

    print(result.table, claims_text(result.claims), sep="\n\n")
    print("\nwritten:", *(f"  {path}" for path in result.files), sep="\n")


def _info(_arguments: argparse.Namespace) -> None:
    from pyrank.config import show_config

    print(show_config())


# --- arguments -------------------------------------------------------------------------------------------------------


class _Parser(argparse.ArgumentParser):
    """A parser whose errors take one line."""

    def __init__(self, **options: Any) -> None:
        layout = functools.partial(argparse.HelpFormatter, max_help_position=28)
        super().__init__(allow_abbrev=False, formatter_class=layout, **options)

    def error(self, message: str) -> NoReturn:
        _say(f"{message}; see `{self.prog} --help`")
        raise SystemExit(MISUSED)


def _integer(text: str) -> int:
    """Read 4096, 1_000_000 or 1e6."""
    try:
        number = Decimal(text)
    except InvalidOperation:
        number = Decimal("nan")
    if not (number.is_finite() and -LARGEST <= number <= LARGEST and number == int(number)):
        raise argparse.ArgumentTypeError(f"{text!r}: expected an integer up to 2^64, such as 1000000 or 1e6")
    return int(number)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r}: expected a number such as 0.01, 1e-2 or inf") from None


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="pyrank", description="How many directions survive in a very deep random network.")
    parser.add_argument("--version", action="version", version=f"pyrank {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND", title="commands")
    _add_simulate(commands.add_parser(
        "simulate", help="run chains to a depth and measure them on the way",
        description="Run independent chains H' = normalise(H + gamma W F(H)) and measure H H^T / N at every layer.",
        epilog="Integers may be written 1000000, 1_000_000 or 1e6; negative ones as in --weight-mean=-0.1. "
        "Example: pyrank simulate --width 32 --depth 1e5 --measure participation_ratio 'soft_rank(0.5)'",
    ))  # fmt: skip
    _add_reproduce(commands.add_parser(
        "reproduce", help="reproduce a published result: table, figure, data and verdict",
        description="Reproduce a published result. A run that was stopped continues when the command is repeated.",
    ))  # fmt: skip
    info = commands.add_parser("info", help="show versions, backends and the instruction set in use",
                               description="Show versions, backends and the instruction set in use.")  # fmt: skip
    info.set_defaults(command=_info)
    return parser


def _add_simulate(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(command=_simulate)

    def add(group: Any, name: str, kind: Any, metavar: str, text: str, **options: Any) -> None:
        group.add_argument(name, type=kind, metavar=metavar, help=text, default=argparse.SUPPRESS, **options)

    chain = parser.add_argument_group("the chain")
    add(chain, "--width", _integer, "D", "number of features", required=True)
    add(chain, "--batch", _integer, "N", "number of samples (default: the width)")
    add(chain, "--gamma", _number, "G", "strength of the random branch; inf: no skip connection (default: inf)")
    add(chain, "--weights", str, "LAW", f"{', '.join(WEIGHT_LAWS)} (default: gaussian)")
    add(chain, "--weight-mean", _number, "M", "mean of a weight (default: 0)")
    add(chain, "--weight-scale", _number, "S", "standard deviation of a weight (default: 1)")
    add(chain, "--activation", str, "F", f"{', '.join(ACTIVATIONS)} (default: linear)")
    add(chain, "--normalization", str, "NAME", f"{', '.join(NORMALIZATIONS)} (default: rescale)")
    add(chain, "--dtype", str, "TYPE", f"{', '.join(DTYPES)} (default: float32)")

    run = parser.add_argument_group("the run")
    add(run, "--depth", _integer, "L", "number of layers", required=True)
    add(run, "--chains", _integer, "C", "number of independent chains (default: 16)")
    add(run, "--seed", _integer, "SEED", "0 <= SEED < 2^64 (default: 0)")
    names = ", ".join([*SCALAR_MEASURES, *(f"{name}(TAU)" for name in THRESHOLD_MEASURES), *SNAPSHOT_MEASURES])
    measures = f"any of {names}; may be repeated; alone: measure nothing (default: participation_ratio, soft_rank(0.5))"
    add(run, "--measure", str, "MEASURE", measures, dest="measures", nargs="*", action="extend")
    add(run, "--observe", str, "POINT", f"{' or '.join(POINTS)}: measure H or F(H) (default: state)")
    add(run, "--initial", str, "STATE", "gaussian, identity, collinear or collinear(P) (default: gaussian)")
    add(run, "--burn-in", _integer, "L", "first layers that are not recorded (default: 0)")
    add(run, "--every", _integer, "K", "record each K-th layer after them (default: 1)")
    add(run, "--snapshot-every", _integer, "K", "the same for measures that need a decomposition (default: as --every)")
    add(run, "--trace", _integer, "T", "samples kept of each chain and measure, even (default: 4096)")

    how = parser.add_argument_group("how and where to")
    add(how, "--backend", str, "NAME", "auto, cpu (compiled) or reference (torch, float64) (default: auto)")
    add(how, "--threads", _integer, "T", "threads of the compiled backend (default: all cores)")
    add(how, "--checkpoint", str, "FILE", "save to FILE now and then; continue from it if it exists")
    add(how, "--json", str, "FILE", "write the result as JSON; -: to the terminal instead of the table")


def _add_reproduce(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(command=_reproduce)
    parser.add_argument("name", nargs="?", metavar="NAME", help="the experiment")
    parser.add_argument("--list", action="store_true", help="list the experiments")
    parser.add_argument("--preset", default="quick", metavar="PRESET", help="quick (about a minute) or paper (hours)")
    parser.add_argument("--out", metavar="DIR", help="folder for the files (default: results/NAME-PRESET)")


if __name__ == "__main__":
    sys.exit(main())
