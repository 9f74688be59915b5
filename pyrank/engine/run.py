"""What a simulation returns: estimates by measure, the last state, and how it was computed."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from pyrank import plotting
from pyrank.engine.picture import record, trace_layers
from pyrank.engine.tables import ESS, MEAN, NUMBERS, RHAT, STDERR, Report, numbers
from pyrank.estimate import Estimate
from pyrank.plotting.records import records
from pyrank.specs.measures import Measure
from pyrank.specs.normalization import NORMALIZATIONS
from pyrank.specs.plan import EVENTS, Plan, Schedule
from pyrank.support import optional
from pyrank.support.errors import ArgumentError, invalid

if TYPE_CHECKING:
    import matplotlib.figure
    import pandas as pd
    import xarray

MOST_DRAWN = 12
"""Measures that a figure shows unless it is told which."""

_NAMES = {normalization: name for name, normalization in NORMALIZATIONS.items()}
_ENTRY = re.compile(r"(.*)\[\s*(\d+)\s*\]\s*")


class MissingMeasureError(ArgumentError, KeyError):
    """A run was asked for a measure that it did not record."""

    __str__ = ArgumentError.__str__


@dataclass(frozen=True, eq=False, repr=False)
class Run(Mapping[str, Estimate]):
    """The result of `pyrank.simulate`: a mapping from measures to estimates.

    ``run["soft_rank(0.5)"]``, ``run["soft_rank(tau=0.5)"]`` and ``run[Measure("soft_rank", 0.5)]`` are the same. A
    measure of several numbers has an estimate for each: ``run["singular_values(3)[0]"]`` is that of the largest.

    Attributes
    ----------
    plan
        What was computed.
    depth
        Layers simulated.
    state
        H_depth of every chain, (chains, d, N), d being the width at that layer.
    estimates
        The estimates by name; ``run[measure]`` looks here.
    events
        ``degenerate_rows``: lines that rescaling found to be zero; ``flagged``: eigenvalue counts redone in double;
        ``ambiguous``: counts that even double could not decide, an eigenvalue being within a part in 10^9 of tau. Each
        an int64 array (chains,).
    exponent
        Powers of two taken off the state of each chain, int64 (chains,); see `log_scale`.
    backend, reason
        Which backend was used and why.
    seconds
        Time spent advancing chains, over all resumptions.
    """

    plan: Plan
    depth: int
    state: Tensor
    estimates: Mapping[str, Estimate]
    events: Mapping[str, NDArray[np.int64]]
    exponent: NDArray[np.int64]
    backend: str
    reason: str
    seconds: float

    def __getitem__(self, measure: str | Measure) -> Estimate:
        name = self._key(measure)
        if name not in self.estimates:
            recorded = ", ".join(self.estimates) or "nothing"
            raise MissingMeasureError(invalid("measure", name, f"one of {recorded}", "add it to measures=[...]"))
        return self.estimates[name]

    def _key(self, measure: str | Measure) -> str:
        """Return the name under which a measure, or entry ``[i]`` of one that gives several numbers, is kept."""
        if isinstance(measure, str) and measure in self.estimates:
            return measure
        if isinstance(measure, str) and (entry := _ENTRY.fullmatch(measure)):
            return f"{Measure.parse(entry[1])}[{int(entry[2])}]"
        return str(Measure.parse(measure))

    def __contains__(self, measure: object) -> bool:
        try:
            return self._key(measure) in self.estimates  # type: ignore[arg-type]
        except ArgumentError:
            return False

    def get(self, measure: str | Measure, default: Any = None) -> Any:
        """Return the estimate of a measure, or ``default`` if it was not recorded."""
        return self[measure] if measure in self else default  # noqa: SIM401, this is what `get` means

    def __iter__(self) -> Iterator[str]:
        return iter(self.estimates)

    def __len__(self) -> int:
        return len(self.estimates)

    @property
    def log_scale(self) -> NDArray[np.float64]:
        """Ln of the factor by which the true state of each chain exceeds ``state``, (chains,); 0 if it is rescaled.

        A chain without rescaling grows or vanishes exponentially. When F is linear, relu or leaky_relu its state is
        divided by a power of two after every layer, and measures that depend on the scale are those of the divided
        state. ``log_scale / depth`` tends to the top Lyapunov exponent.
        """
        return self.exponent.astype(np.float64) * math.log(2.0)

    @property
    def recorded(self) -> int:
        """Layers per chain that the kernels recorded."""
        return self.plan.schedule.recorded(self.depth)

    def explain(self) -> str:
        """Say which backend was used and why."""
        return f"backend {self.backend}: {self.reason}"

    def __repr__(self) -> str:
        return self._report().text()

    def _repr_html_(self) -> str:
        return self._report().html()

    def _report(self) -> Report:
        plan = self.plan
        above = [
            self._law(),
            f"{self.depth:,} layers in {self.seconds:.2f} s; {self.recorded:,} recorded per chain "
            f"(burn-in {plan.burn_in:,}, every {plan.every:,}), seed {plan.seed}; {self.backend}",
        ]
        if plan.snapshots:
            taken = plan.snapshot_schedule.recorded(self.depth)
            above.append(f"{taken:,} snapshots per chain (every {plan.snapshot_every:,})")
        if plan.observe != "state":
            above.append("measured at the activation F(H)")
        events = [f"{name.replace('_', ' ')}: {count.sum():,}" for name, count in self.events.items()]
        return Report(above, "measure", self.estimates, (MEAN, STDERR, ESS, RHAT), ["; ".join(events)])

    def _law(self) -> str:
        chain = self.plan.chain
        widths = ", ".join(map(str, chain.widths))
        normalization = _NAMES.get(chain.normalization, chain.normalization)
        chains = f"{self.plan.chains:,} chains" if self.plan.chains > 1 else "1 chain"
        return (
            f"{chains} of width {widths}, batch {chain.batch}, gamma {chain.gamma:g}, "
            f"{chain.activation}, {normalization}, {chain.weights.law} W, {chain.dtype}"
        )

    def plot(self, *measures: str | Measure) -> matplotlib.figure.Figure:
        """Draw what was recorded: for each measure single chains by layer, the histogram, and the mean so far.

        Parameters
        ----------
        *measures
            What to draw; if nothing is given, all that was recorded, up to the first 12.

        Returns
        -------
        matplotlib.figure.Figure
            To be shown in a notebook, or written by its ``savefig``.

        Raises
        ------
        ArgumentError
            If nothing was recorded.
        MissingMeasureError
            If one of the measures was not.
        ImportError
            If matplotlib is missing.
        """
        self._require_measures()
        plotting.require()
        plan = self.plan
        names = [self._key(measure) for measure in measures] or list(self.estimates)[:MOST_DRAWN]
        rows = [record(name, self[name], self._schedule(name)) for name in names]
        caption = f"{self.depth:,} layers, burn-in {plan.burn_in:,}, seed {plan.seed}."
        if len(names) < len(self.estimates) and not measures:
            caption += f" {len(names)} of {len(self.estimates)} measures."
        return records(rows, title=self._law(), caption=caption)

    def _is_snapshot(self, measure: str) -> bool:
        return measure not in map(str, self.plan.measures)

    def _schedule(self, measure: str) -> Schedule:
        return self.plan.snapshot_schedule if self._is_snapshot(measure) else self.plan.schedule

    def _require_measures(self) -> None:
        if not self.estimates:
            raise invalid("measures", [], "at least one recorded measure", "simulate with for example ['trace']")

    def to_dict(self) -> dict[str, Any]:
        """Return plain numbers, ready for JSON: the plan, the counters, and each estimate's headline."""
        return {
            "plan": self.plan.to_dict(),
            "depth": self.depth,
            "seconds": self.seconds,
            "backend": self.backend,
            "events": {name: int(self.events[name].sum()) for name in EVENTS},
            "estimates": {name: numbers(e) | {"flags": list(e.flags)} for name, e in self.estimates.items()},
        }

    def to_dataframe(self) -> pd.DataFrame:
        """Return a row for each measure: mean, stderr, ess, rhat, std, min, max, count and flags, "" for none.

        Raises
        ------
        ImportError
            If pandas is missing.
        """
        library = optional.load("pandas", "to_dataframe")
        rows = [numbers(e) | {"flags": ", ".join(e.flags)} for e in self.estimates.values()]
        return library.DataFrame(rows, library.Index(list(self.estimates), name="measure"), [*NUMBERS, "flags"])

    def to_xarray(self) -> xarray.Dataset:
        """Return the traces as a dataset with dimensions (chain, draw), or (chain, snapshot) for snapshot measures.

        The coordinates ``layer`` of a draw and ``snapshot_layer`` of a snapshot are l for what was measured on H_{l+1}.

        Raises
        ------
        ArgumentError
            If no trace was kept.
        ImportError
            If xarray is missing.
        """
        self._require_measures()
        if not self.plan.trace:
            raise invalid("trace", self.plan.trace, "a recorded trace", "simulate with for example trace=4096")
        chain = self.plan.chain
        variables: dict[str, Any] = {}
        coordinates: dict[str, Any] = {"chain": np.arange(self.plan.chains)}
        for name, estimate in self.estimates.items():
            draw, layer = ("snapshot", "snapshot_layer") if self._is_snapshot(name) else ("draw", "layer")
            layers = trace_layers(estimate, self._schedule(name))
            variables[name] = (("chain", draw), estimate.trace)
            coordinates |= {draw: np.arange(len(layers)), layer: (draw, layers)}
        sizes = {"width": chain.width, "batch": chain.batch, "seed": self.plan.seed}
        dataset: xarray.Dataset = optional.load("xarray", "to_xarray").Dataset(variables, coordinates, sizes)
        return dataset
