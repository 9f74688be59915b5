"""The arguments of the command line, and how their mistakes are told."""

from __future__ import annotations

import argparse
import functools
from decimal import Decimal, InvalidOperation
from typing import Any, NoReturn

from pyrank._version import __version__
from pyrank.specs.chain import ACTIVATIONS, DTYPES
from pyrank.specs.measures import SCALAR_MEASURES, SNAPSHOT_MEASURES, THRESHOLD_MEASURES
from pyrank.specs.normalization import NORMALIZATIONS
from pyrank.specs.plan import POINTS
from pyrank.specs.weights import INITIALIZATIONS, SCALES

MISUSED = 2
LARGEST = 2**64
WORKERS = "processes to run, of one thread each (default: 1, with all threads)"


class _Parser(argparse.ArgumentParser):
    """A parser whose errors take one line."""

    def __init__(self, **options: Any) -> None:
        layout = functools.partial(argparse.HelpFormatter, max_help_position=28)
        super().__init__(allow_abbrev=False, formatter_class=layout, **options)

    def error(self, message: str) -> NoReturn:
        line = " ".join(f"{message}; see `{self.prog} --help`".split())
        self.exit(MISUSED, f"pyrank: {line}\n")


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


def _number_or_name(text: str) -> float | str:
    return text.strip() if text.strip().isidentifier() and text.strip() not in ("inf", "nan") else _number(text)


def _widths(text: str) -> int | tuple[int, ...]:
    """Read 32, or 8,32 for widths that alternate."""
    widths = tuple(_integer(part) for part in text.split(","))
    return widths if len(widths) > 1 else widths[0]


def _shape(text: str) -> tuple[int, ...]:
    return tuple(_integer(part) for part in text.split(","))


def _stride(text: str) -> int | str:
    return text if text == "auto" else _integer(text)


def new_parser() -> argparse.ArgumentParser:
    """Return the parser; ``command`` in what it returns is the name of the command."""
    parser = _Parser(prog="pyrank", description="How many directions survive in a very deep random network.")
    parser.add_argument("--version", action="version", version=f"pyrank {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND", title="commands")
    _add_simulate(commands.add_parser(
        "simulate", help="run chains to a depth and measure them on the way",
        description="Run independent chains H' = normalise(H + gamma W F(H)) and measure H H^T / N at every layer.",
        epilog="Integers may be written 1000000, 1_000_000 or 1e6; negative ones as in --weight-mean=-0.1. "
        "Example: pyrank simulate --width 32 --depth 1e5 --measure participation_ratio 'soft_rank(0.5)'",
    ))  # fmt: skip
    _add_reproduce(commands.add_parser(
        "reproduce", help="reproduce a published result: table, figure, data and verdict",
        description="Reproduce a published result, or run an experiment that a Python file of your own declares. A run "
        "that was stopped continues when the command is repeated.",
    ))  # fmt: skip
    _add_monitor(commands.add_parser(
        "monitor", help="measure every layer of a network of your own",
        description="Build a network, run it once on a batch, and print the rank of every layer.",
        epilog="Example: pyrank monitor torchvision.models:resnet18 --data random --shape 3,64,64. Images are "
        "flattened for a network that does not take them as they are.",
    ))  # fmt: skip
    _add_hessian(commands.add_parser(
        "hessian", help="find the sharpest directions of a network of your own",
        description="Build a network and print the largest eigenvalues of the Hessian of its cross-entropy on a batch, "
        "in the mode in which it is built: in train mode normalisation takes the statistics of this batch.",
        epilog="Example: pyrank hessian my_networks:build --samples 2000 --k 5. Images are flattened for a network "
        "that does not take them as they are.",
    ))  # fmt: skip
    _add_study(commands.add_parser(
        "study", help="run all combinations of some values, and keep the results in one file",
        description="Run all combinations of some values. What was stopped continues when the command is repeated.",
    ))  # fmt: skip
    commands.add_parser(
        "info", help="show versions, backends and the instruction set in use",
        description="Show versions, backends and the instruction set in use.",
    )  # fmt: skip
    return parser


def _add_simulate(parser: argparse.ArgumentParser) -> None:
    def add(group: Any, name: str, kind: Any, metavar: str, text: str, **options: Any) -> None:
        group.add_argument(name, type=kind, metavar=metavar, help=text, default=argparse.SUPPRESS, **options)

    chain = parser.add_argument_group("the chain")
    add(chain, "--width", _widths, "D", "number of features; D,D,...: widths gone through in turn", required=True)
    add(chain, "--batch", _integer, "N", "number of samples (default: the first width)")
    add(chain, "--gamma", _number, "G", "strength of the random branch; inf: no skip connection (default: inf)")
    add(chain, "--weights", str, "NAME", f"{', '.join(INITIALIZATIONS)} (default: gaussian)")
    scales = f"of a weight, or {', '.join(SCALES)} (default: that of the name)"
    add(chain, "--weight-mean", _number_or_name, "M", f"mean {scales}")
    add(chain, "--weight-scale", _number_or_name, "S", f"standard deviation {scales}")
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
    add(run, "--every", _stride, "K", "record each K-th layer after them; auto: as many as pay (default: 1)")
    text = "the same for measures that need a decomposition (default: as --every)"
    add(run, "--snapshot-every", _integer, "K", text)
    add(run, "--trace", _integer, "T", "samples kept of each chain and measure, even (default: 4096)")

    how = parser.add_argument_group("how and where to")
    add(how, "--device", str, "DEVICE", "cpu, cuda (all GPUs) or cuda:N (default: cpu)")
    add(how, "--backend", str, "NAME", "auto, cpu or cuda (compiled), or reference (torch, float64) (default: auto)")
    add(how, "--threads", _integer, "T", "threads of the compiled backend for the CPU (default: all cores)")
    add(how, "--checkpoint", str, "FILE", "save to FILE now and then; continue from it if it exists")
    add(how, "--json", str, "FILE", "write the result as JSON; -: to the terminal instead of the table")
    add(how, "--plot", str, "FILE", "draw what was recorded: a .png, .svg or .pdf")


def _add_monitor(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("network", metavar="MODULE:FACTORY", help="a function without arguments that returns it")
    data = "fashion-mnist, mnist, cifar-10, or random for gaussian numbers (default: fashion-mnist)"
    parser.add_argument("--data", default="fashion-mnist", metavar="NAME", help=data)
    shape = "of one random input: C,H,W or D (default: 1,28,28)"
    parser.add_argument("--shape", type=_shape, default=(1, 28, 28), metavar="D,D,...", help=shape)
    parser.add_argument("--samples", type=_integer, default=128, metavar="N", help="size of the batch (default: 128)")
    parser.add_argument("--seed", type=_integer, default=0, metavar="SEED", help="of weights and data (default: 0)")
    measures = "as for simulate, or explained_rank(SHARE) (default: participation_ratio, soft_rank(0.5))"
    parser.add_argument("--measure", nargs="+", action="extend", dest="measures", metavar="MEASURE", help=measures)
    parser.add_argument("--plot", metavar="FILE", help="draw rank against depth: a .png, .svg or .pdf")


def _add_study(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION", title="actions")
    run = actions.add_parser(
        "run", help="run what is not done", description="Run the cells of a study that are not done yet.",
        epilog="FILE has fixed values at its top, such as depth = 1000, and axes such as width = [8, 16] below [axes]; "
        "the names are those of pyrank.Chain and pyrank.simulate.",
    )  # fmt: skip
    run.add_argument("file", metavar="FILE", help="what to run: a TOML file")
    run.add_argument("--out", metavar="DIR", help="folder for the results (default: the name of FILE without .toml)")
    run.add_argument("--workers", type=_integer, metavar="N", help=WORKERS)
    run.add_argument("--dask", metavar="ADDRESS", help="run on the workers of this Dask scheduler, as tcp://HOST:8786")
    run.add_argument("--retry-failed", action="store_true", help="run cells again that have failed")
    status = actions.add_parser("status", help="how many cells are done, have failed, wait")
    status.add_argument("folder", metavar="DIR", help="the folder of the study")
    table = actions.add_parser("table", help="the results of all cells that are done")
    table.add_argument("folder", metavar="DIR", help="the folder of the study")
    table.add_argument("--csv", metavar="FILE", help="write the table to FILE")


def _add_hessian(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("network", metavar="MODULE:FACTORY", help="a function without arguments that returns it")
    data = "fashion-mnist, mnist or cifar-10 (default: fashion-mnist)"
    parser.add_argument("--data", default="fashion-mnist", metavar="NAME", help=data)
    parser.add_argument("--samples", type=_integer, default=1000, metavar="N", help="size of the batch (default: 1000)")
    parser.add_argument("--k", type=_integer, default=10, metavar="K", help="how many eigenvalues (default: 10)")
    parser.add_argument("--seed", type=_integer, default=0, metavar="SEED", help="of weights and data (default: 0)")


def _add_reproduce(parser: argparse.ArgumentParser) -> None:
    name = "the experiment, or a file such as my_experiment.py; all: every published one, and a page of them"
    parser.add_argument("name", nargs="?", metavar="NAME", help=name)
    parser.add_argument("--list", action="store_true", help="list the experiments")
    presets = "quick (about a minute each), paper (hours); some have gpu, fashion-mnist, as-published (the script)"
    parser.add_argument("--preset", default="quick", metavar="PRESET", help=presets)
    device = "where chains are simulated: cpu, cuda (all GPUs) or cuda:N (default: cpu)"
    parser.add_argument("--device", default="cpu", metavar="DEVICE", help=device)
    parser.add_argument("--out", metavar="DIR", help="folder for the files (default: results/NAME-PRESET)")
    parser.add_argument("--workers", type=_integer, metavar="N", help=WORKERS)
