"""The one task that calls `pyrank.simulate`: names, defaults and checks of a grid, and what is kept of a run."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

from pyrank.engine.backends import NAMES
from pyrank.engine.initial import canonical
from pyrank.engine.request import plan_of
from pyrank.engine.run import Run
from pyrank.engine.simulation import simulate
from pyrank.engine.tables import NUMBERS
from pyrank.estimate import Estimate
from pyrank.specs.chain import Chain
from pyrank.specs.measures import parse_measures
from pyrank.specs.normalization import NORMALIZATIONS
from pyrank.specs.weights import INITIALIZATIONS
from pyrank.studies.grids import Grid, axes_of
from pyrank.support.errors import as_choice, as_integer, invalid

CHAIN = ("width", "batch", "gamma", "weights", "activation", "normalization", "dtype")
RUN = ("depth", "chains", "seed", "measures", "observe", "initial", "burn_in", "every", "snapshot_every", "trace",
       "device", "backend")  # fmt: skip
SECONDS, CALL_SECONDS = 2e-10, 1e-3
"""Of one multiplication and addition, and of a call of `simulate`, give or take a factor of five."""

_DEFAULTS = {
    name: argument.default
    for function, names in ((Chain, CHAIN), (simulate, RUN))
    for name, argument in inspect.signature(function).parameters.items()
    if name in names and argument.default is not argument.empty
} | {"trace": 0}


def _known(names: Mapping[str, Any]) -> Callable[[Any], Any]:
    """Return what writes a value by its name, where it has one."""
    return lambda value: next((name for name, known in names.items() if value == known), value)


_WRITTEN: dict[str, Callable[[Any], Any]] = {
    **dict.fromkeys(("seed", "depth", "chains", "burn_in", "every", "trace"), int),
    "gamma": float,
    "weights": _known(INITIALIZATIONS),
    "normalization": _known(NORMALIZATIONS),
    "dtype": lambda dtype: Chain(1, dtype=dtype).dtype,
    "initial": lambda start: canonical(start) if isinstance(start, str) else start,
    "measures": lambda measures: list(map(str, parse_measures(measures))),
}
"""How the values of a cell are written, so that equal ones are equal: 1 and 1.0 are one gamma."""


def simulation(
    *, threads: int | None = None, checkpoint: Path | None = None, report: Callable[[float], object] | None = None,
    **values: Any,
) -> dict[str, Any]:  # fmt: skip
    """Simulate one cell of a grid; return what is kept of the run: see `summary`."""
    depth, options = values["depth"], {name: values[name] for name in RUN if name != "depth"}
    progress = None if report is None else lambda layers: report(layers / depth)
    run = simulate(_chain(values), depth, **options, threads=threads, checkpoint=checkpoint, progress=progress)
    return summary(run)


def summary(run: Run) -> dict[str, Any]:
    """Return an entry for each measure, with the numbers of its estimate, and the events of the run.

    The histogram is that of all chains together; there is a trace if one was asked for.
    """
    found: dict[str, Any] = {name: _numbers(estimate) for name, estimate in run.estimates.items()}
    found |= {name: int(count.sum()) for name, count in run.events.items()}
    if run.plan.chain.drifts:
        found["log_scale"] = float(run.log_scale.mean())
    return found


def _numbers(estimate: Estimate) -> dict[str, Any]:
    found = {name: getattr(estimate, name) for name in (*NUMBERS, "dof")}
    found["flags"] = ", ".join(estimate.flags)
    if estimate.histogram is not None:
        found["histogram"] = estimate.histogram.sum(axis=0)
    if estimate.trace is not None:
        found["trace"] = estimate.trace
    return found


def simulation_grid(values: Mapping[str, Any]) -> Grid:
    """Return the grid of chains whose names are those of `Chain` and `simulate`; every plan in it is checked."""
    for name, value in values.items():
        if name not in CHAIN + RUN:
            raise invalid(name, value, f"one of {', '.join(CHAIN + RUN)}", "check the spelling")
    for name in ("width", "depth"):
        if name not in values:
            raise invalid(name, "missing", "a value or a list of them", f"add {name}=...")
    axes = axes_of(values, fixed=["measures"])
    fixed = {name: value for name, value in (_DEFAULTS | dict(values)).items() if name not in axes}
    _check_plans(axes, fixed)
    for name, written in _WRITTEN.items():
        if name in axes:
            axes[name] = tuple(map(written, axes[name]))
        else:
            fixed[name] = written(fixed[name])
    return Grid(simulation, axes, fixed, _settle, _cost)


def _settle(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return what follows from other values unless it is given."""
    found = {}
    if values["batch"] is None:
        found["batch"] = values["width"] if isinstance(values["width"], int) else _chain(values).batch
    if values["snapshot_every"] is None:
        found["snapshot_every"] = values["every"]
    return found


def _cost(values: Mapping[str, Any]) -> float:
    """Return the predicted seconds of a run: products, factorisations for the measures, and what is linear."""
    chain = _chain(values)
    width, batch = chain.width, chain.batch
    side = min(width, batch)
    work = width * width * batch + len(values["measures"]) * side**3 + 40 * width * batch
    return CALL_SECONDS + SECONDS * float(work * values["chains"] * values["depth"])


def _chain(values: Mapping[str, Any]) -> Chain:
    return Chain(**{name: values[name] for name in CHAIN})


def _check_plans(axes: Mapping[str, Sequence[Any]], fixed: Mapping[str, Any]) -> None:
    """Raise the error of a cell that `simulate` would refuse; what does not meet other values is checked once."""
    first = dict(fixed) | {name: points[0] for name, points in axes.items()}
    for measure in parse_measures(first["measures"]):
        if measure.function is not None:
            remedy = "write a task of your own that calls pyrank.simulate"
            raise invalid("measures", str(measure), "measures that pyrank has a name for", remedy)
    for seed in axes.get("seed", ()):
        as_integer("seed", seed, 0, 2**64 - 1, "give an integer seed")
    depths = [as_integer("depth", depth, 1, 2**32, "give the number of layers") for depth in axes.get("depth", ())]
    shallow = min(depths, default=as_integer("depth", first["depth"], 1, 2**32, "give the number of layers"))
    met = set()
    for chain_values in _combinations(axes, CHAIN):
        chain = _chain(first | chain_values)
        if (size := (chain.widths, chain.batch, chain.dtype)) in met:
            continue  # nothing else of a chain meets what is asked of a run
        met.add(size)
        for run_values in _combinations(axes, [name for name in RUN if name not in ("seed", "depth")]):
            _check_run(chain, first | run_values, shallow)


def _check_run(chain: Chain, values: Mapping[str, Any], depth: int) -> None:
    every = values["every"]
    if isinstance(every, str):
        wanted = "a stride in layers: 'auto' depends on the machine"
        raise invalid("every", every, wanted, "take run.plan.every of one run with 'auto'")
    plan = plan_of(
        chain, values["chains"], values["seed"], values["measures"], values["observe"], values["initial"],
        values["burn_in"], every, values["snapshot_every"], values["trace"],
    )  # fmt: skip
    as_choice("backend", values["backend"], NAMES)
    if plan.burn_in >= depth:
        raise invalid("burn_in", plan.burn_in, f"fewer layers than depth = {depth}", "raise depth or lower burn_in")


def _combinations(axes: Mapping[str, Sequence[Any]], names: Sequence[str]) -> Iterator[dict[str, Any]]:
    some = {name: points for name, points in axes.items() if name in names}
    return (dict(zip(some, point, strict=True)) for point in product(*some.values()))
