"""How a quantity grows with the width, for several gamma: what soft-rank-scaling and bound-check share."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from pyrank import plotting
from pyrank.estimate.fitting import PowerLaw, power_law
from pyrank.experiments.declaration import Found, Table
from pyrank.experiments.tables import Column, Row
from pyrank.experiments.tasks import Simulation
from pyrank.plotting import Panel
from pyrank.specs.chain import Chain
from pyrank.support.text import plus_minus, span

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True)
class Setting:
    """One point of the figure: ``layers`` layers of each chain after ``burn_in``, of which each ``every``-th counts."""

    width: int
    gamma: float
    chains: int
    burn_in: int
    layers: int
    every: int = 1

    @property
    def cost(self) -> float:
        """Predicted time in arbitrary units, after measurements; to record takes about as long as a layer."""
        layers = self.burn_in + self.layers * (1 + 1 / self.every)
        return self.chains * layers * self.width**2 * (1 + math.pow(self.width / 64, 1.5))


def simulations(grid: Sequence[Setting], seed: int, measures: tuple[str, ...], trace: int) -> list[Simulation]:
    """Return a simulation for each setting; number i has the seed ``seed + i``.

    Settings must not share a seed: two widths or gammas would see the same weights, and the fit takes errors as
    independent.
    """
    return [
        Simulation(
            name=f"d={setting.width},gamma={setting.gamma:g}",
            chain=Chain(setting.width, gamma=setting.gamma),
            depth=setting.burn_in + setting.layers,
            options={"chains": setting.chains, "seed": seed + number, "measures": measures, "trace": trace,
                     "burn_in": setting.burn_in, "every": setting.every},
            cost=setting.cost,
        )
        for number, setting in enumerate(grid)
    ]  # fmt: skip


def grid_caption(grid: Sequence[Setting]) -> str:
    """Say what was run."""
    return (
        f"Chains: {span(s.chains for s in grid)}; layers after burn-in: {span(s.layers for s in grid)}; burn-in: "
        f"{span(s.burn_in for s in grid)}; recorded: every {span(s.every for s in grid)}. Error bars and ±: 95 % "
        "intervals. Lines: weighted fits. Series are drawn side by side."
    )


@dataclass(frozen=True)
class ScalingLaw:
    """The law ``quantity = c d^exponent``, fitted for each gamma, and drawn beside the power that theory has.

    Attributes
    ----------
    quantity, symbol
        As text, and for labels.
    value, stderr
        The columns that hold it and its standard error.
    half_width
        From a row to half of its 95 % interval.
    power, power_symbol
        Of d, to compare with.
    guide
        From the rows to the prefactor of that power in the figure.
    """

    quantity: str
    symbol: str
    value: str
    stderr: str
    half_width: Callable[[Row], float]
    power: float
    power_symbol: str
    guide: Callable[[Sequence[Row]], float]

    def fits(self, found: Found) -> dict[float, PowerLaw]:
        """Return the fit for each gamma."""
        return {
            gamma: power_law(*([getattr(row, name) for row in rows] for name in ("width", self.value, self.stderr)))
            for gamma, rows in found.rows_by("gamma").items()
        }

    def table(self) -> Table:
        """Return the table of the fits."""
        columns = (
            Column("gamma", "gamma", "g"),
            Column("exponent", "exponent", error="half_width"),
            Column("prefactor", "c", ".3f"),
            Column("stderr"),
            Column("half_width"),
            Column("chi2"),
            Column("dof"),
            Column("interval"),
            Column("", "chi2/dof", lambda row: f"{row.chi2 / row.dof:.3g}"),
        )
        return Table(
            "fits",
            f"{self.quantity} = c d^exponent, weighted least squares in log-log:",
            columns,
            self._lines,
            "± half of the 95 % interval: the wider of that from the errors (normal) and that from the scatter about "
            "the line (Student). chi2/dof far above 1: no exact power law at this precision.",
        )

    def _lines(self, found: Found) -> Iterable[Mapping[str, Any]]:
        return [{"gamma": gamma, **asdict(fit), "interval": fit.interval} for gamma, fit in self.fits(found).items()]

    def panels(self) -> tuple[Panel, Panel]:
        """Return two panels: the quantity, and the quantity over its power of d."""
        width = "width d (features) = batch N (samples)"
        return (
            Panel(self._draw(0.0), xlabel=width, ylabel=self.symbol),
            Panel(self._draw(self.power), xlabel=width, ylabel=f"{self.symbol} / {self.power_symbol}"),
        )

    def _draw(self, over: float) -> Callable[[Axes, Found], None]:
        def draw(axes: Axes, found: Found) -> None:
            series = self._series(found)
            plotting.scaling(axes, series, over=over)
            prefactor = self.guide(found.rows)
            plotting.power_guide(axes, series, self.power, prefactor=prefactor, over=over,
                                 label=f"guide: slope of {self.power_symbol}")  # fmt: skip

        return draw

    def _series(self, found: Found) -> list[plotting.Series]:
        groups = found.rows_by("gamma")
        return [
            plotting.Series(
                label=rf"$\gamma$ = {plotting.symbol(gamma)}: exponent {plus_minus(fit.exponent, fit.half_width)}",
                x=[row.width for row in groups[gamma]],
                y=[getattr(row, self.value) for row in groups[gamma]],
                error=[self.half_width(row) for row in groups[gamma]],
                prefactor=fit.prefactor,
                exponent=fit.exponent,
            )
            for gamma, fit in self.fits(found).items()
        ]
