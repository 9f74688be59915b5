"""What a simulation returns: estimates by measure, the last state, and how it was computed."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from pyrank.estimate import Estimate
from pyrank.specs.measures import Measure
from pyrank.specs.plan import EVENTS, Plan
from pyrank.support import optional
from pyrank.support.errors import ArgumentError, invalid

if TYPE_CHECKING:
    import xarray

_ENTRY = re.compile(r"(.*)\[\s*(\d+)\s*\]\s*")


class MissingMeasureError(ArgumentError, KeyError):
    """A run was asked for a measure that it did not record."""

    __str__ = ArgumentError.__str__


@dataclass(frozen=True, eq=False)
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
    state: Tensor = field(repr=False)
    estimates: Mapping[str, Estimate] = field(repr=False)
    events: Mapping[str, NDArray[np.int64]] = field(repr=False)
    exponent: NDArray[np.int64] = field(repr=False)
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

    def __str__(self) -> str:
        chain, plan = self.plan.chain, self.plan
        widths = ", ".join(map(str, chain.widths))
        lines = [
            f"{plan.chains} chains of width {widths}, batch {chain.batch}, gamma {chain.gamma:g}, "
            f"{chain.activation}, {chain.weights.law} weights, {chain.dtype}",
            f"{self.depth:,} layers in {self.seconds:.2f} s; {self.recorded:,} recorded per chain "
            f"(burn-in {plan.burn_in:,}, every {plan.every:,}), seed {plan.seed}; {self.backend}",
        ]
        if plan.snapshots:
            taken = plan.snapshot_schedule.recorded(self.depth)
            lines.append(f"{taken:,} snapshots per chain (every {plan.snapshot_every:,})")
        if plan.observe != "state":
            lines.append("measured at the activation F(H)")
        if self.estimates:
            wide = max(len("measure"), *map(len, self.estimates))
            lines.append("")
            lines.append(f"{'measure':<{wide}}  {'mean':>12}  {'stderr':>9}  {'ess':>10}  {'r-hat':>6}  flags")
            for name, e in self.estimates.items():
                flags = ", ".join(e.flags) or "-"
                lines.append(
                    f"{name:<{wide}}  {e.mean:>12.6g}  {e.stderr:>9.2g}  {e.ess:>10.4g}  {e.rhat:>6.3f}  {flags}"
                )
        events = {name: int(count.sum()) for name, count in self.events.items()}
        lines.append("")
        lines.append("; ".join(f"{name.replace('_', ' ')}: {count:,}" for name, count in events.items()))
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """Return plain numbers, ready for JSON: the plan, the counters, and each estimate's headline."""
        headline = ("mean", "stderr", "ess", "rhat", "std", "min", "max", "count")
        return {
            "plan": self.plan.to_dict(),
            "depth": self.depth,
            "seconds": self.seconds,
            "backend": self.backend,
            "events": {name: int(self.events[name].sum()) for name in EVENTS},
            "estimates": {
                name: {key: getattr(e, key) for key in headline} | {"flags": list(e.flags)}
                for name, e in self.estimates.items()
            },
        }

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
        if not self.estimates:
            raise invalid("measures", [], "at least one recorded measure", "simulate with for example ['trace']")
        if not self.plan.trace:
            raise invalid("trace", self.plan.trace, "a recorded trace", "simulate with for example trace=4096")
        chain, kernels = self.plan.chain, {str(measure) for measure in self.plan.measures}
        variables: dict[str, Any] = {}
        coordinates: dict[str, Any] = {"chain": np.arange(self.plan.chains)}
        for dimension, layer, schedule, names in (
            ("draw", "layer", self.plan.schedule, [n for n in self.estimates if n in kernels]),
            (
                "snapshot",
                "snapshot_layer",
                self.plan.snapshot_schedule,
                [n for n in self.estimates if n not in kernels],
            ),
        ):
            for name in names:
                estimate = self.estimates[name]
                assert estimate.trace is not None
                draws = np.arange(estimate.trace.shape[1])
                variables[name] = (("chain", dimension), estimate.trace)
                coordinates[dimension] = draws
                coordinates[layer] = (dimension, schedule.burn_in + schedule.every * estimate.trace_stride * draws)
        sizes = {"width": chain.width, "batch": chain.batch, "seed": self.plan.seed}
        dataset: xarray.Dataset = optional.load("xarray", "to_xarray").Dataset(variables, coordinates, sizes)
        return dataset
