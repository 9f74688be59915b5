"""Growth rates of unnormalised linear chains: all Lyapunov exponents, by repeated QR factorisation."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from pyrank import plotting
from pyrank.engine import backends, initial
from pyrank.engine.tables import MEAN, RHAT, STDERR, Report
from pyrank.estimate import Accumulator, Estimate, estimate
from pyrank.plotting.spectrum import spectrum
from pyrank.specs.chain import Chain
from pyrank.specs.normalization import NORMALIZATIONS
from pyrank.specs.plan import COUNTERS, Plan
from pyrank.support.ambient import one_thread, unmoved
from pyrank.support.errors import as_integer, invalid
from pyrank.support.progress import report_to

if TYPE_CHECKING:
    import matplotlib.figure

TRIAL_LAYERS = 16  # factored one by one, to see how fast directions part
LOST_DIGITS = 6.0  # that a stretch between two factorisations may cost, of the 16 of double precision
LONGEST_STRETCH = 64


@dataclass(frozen=True, eq=False, repr=False)
class LyapunovSpectrum:
    """Lyapunov exponents per layer, largest first.

    Attributes
    ----------
    exponents, stderr : ndarray, shape (k,)
        Mean growth of ln of the k-th direction per layer, and its Monte-Carlo standard error.
    estimates : tuple of Estimate
        One for each exponent, with everything else that is known of it. A sample is the mean over ``stride`` layers.
    depth, stride : int
        Layers of each chain; layers between two factorisations.
    """

    exponents: NDArray[np.float64]
    stderr: NDArray[np.float64]
    estimates: tuple[Estimate, ...]
    depth: int
    stride: int

    def __repr__(self) -> str:
        return self._report().text()

    def _repr_html_(self) -> str:
        return self._report().html()

    def _report(self) -> Report:
        rows = {f"{k:>4}": e for k, e in enumerate(self.estimates, start=1)}
        return Report([self._origin()], "   k", rows, (replace(MEAN, heading="exponent"), STDERR, RHAT))

    def _origin(self) -> str:
        return f"{self.depth:,} layers of {self.estimates[0].chains} chains, factored every {self.stride}"

    def plot(self) -> matplotlib.figure.Figure:
        """Draw the exponents with their 95 % intervals.

        Returns
        -------
        matplotlib.figure.Figure

        Raises
        ------
        ImportError
            If matplotlib is missing.
        """
        plotting.require()
        reach = np.array([e.mean - e.interval()[0] for e in self.estimates])
        caption = f"{self._origin()}; bars: 95 % intervals."
        ylabel = "growth of the k-th direction per layer"
        return spectrum(self.exponents, reach, title="Lyapunov exponents", ylabel=ylabel, caption=caption)


@unmoved
def lyapunov_spectrum(
    chain: Chain,
    depth: int,
    *,
    count: int | None = None,
    chains: int = 16,
    seed: int = 0,
    burn_in: int = 100,
    stride: int | None = None,
    backend: str = "auto",
    threads: int | None = None,
    progress: bool | Callable[[int], object] | None = None,
) -> LyapunovSpectrum:
    """Estimate the Lyapunov exponents of ``H' = H + gamma W H`` or ``H' = W H``, with error bars.

    An orthonormal frame of ``count`` columns is taken through the layers in double precision and factored again and
    again into a new frame and a triangle; the k-th exponent is the mean of ``ln |R_kk|`` per layer (Benettin, Galgani,
    Giorgilli, Strelcyn, Meccanica 15, 9, 1980).

    Parameters
    ----------
    chain
        A chain with ``activation="linear"`` and ``normalization="none"``; its batch and dtype play no role.
    depth
        Layers of each chain.
    count
        How many exponents, the largest first; all min(widths) of them if not given.
    chains, seed, backend, threads, progress
        As in `pyrank.simulate`.
    burn_in
        Layers not counted, in which the frame turns to the directions of growth.
    stride
        Layers between two factorisations; if not given, as many as cost about six of the sixteen digits of the
        smallest direction, as seen in the first layers.

    Returns
    -------
    LyapunovSpectrum

    Raises
    ------
    ArgumentError
        If the chain is not linear and unnormalised, or another argument is out of range.
    FloatingPointError
        If the state overflows between two factorisations.
    """
    _check(chain)
    count = as_integer("count", min(chain.widths) if count is None else count, 1, min(chain.widths),
                       "there are as many exponents as the (smallest) width")  # fmt: skip
    burn_in = as_integer("burn_in", burn_in, 0, 2**32, "give a number of layers")
    shortest = burn_in + TRIAL_LAYERS + 2 * LONGEST_STRETCH
    depth = as_integer("depth", depth, shortest, 2**32, f"the first {burn_in + TRIAL_LAYERS} layers are not counted")
    if stride is not None:
        stride = as_integer("stride", stride, 1, LONGEST_STRETCH, "give a number of layers")
    plan = _plan(chain, count, as_integer("chains", chains, 1, 2**32, "give the number of independent chains"),
                 as_integer("seed", seed, 0, 2**64 - 1, "give an integer seed"))  # fmt: skip
    flow = _Flow(plan, backends.choose(plan.chain, "cpu", backend, threads))
    with report_to(progress, depth, 0) as report:
        with np.errstate(invalid="ignore"):  # directions that a singular W has lost are all at -inf
            spread = np.mean([np.ptp(flow.grow(1), axis=0).max() for _ in range(TRIAL_LAYERS)])
        if stride is None:
            affordable = LOST_DIGITS * math.log(10.0) / spread if spread > 0 else math.inf
            stride = int(min(max(affordable, 1), LONGEST_STRETCH))
        while flow.layer < burn_in:
            flow.grow(min(stride, burn_in - flow.layer))
        report(flow.layer)
        record = Accumulator.empty([False] * count, plan.chains, 1, 0)
        samples = (depth - flow.layer) // stride
        for sample in range(samples):
            record.push(flow.grow(stride) / stride, sample)
            report(stride)
    estimates = tuple(estimate(record, k, samples) for k in range(count))
    return LyapunovSpectrum(
        exponents=np.array([e.mean for e in estimates]),
        stderr=np.array([e.stderr for e in estimates]),
        estimates=estimates,
        depth=flow.layer,
        stride=stride,
    )


def _check(chain: Chain) -> None:
    if not isinstance(chain, Chain):
        raise invalid("chain", chain, "a pyrank.Chain", "write pyrank.Chain(width=32, normalization='none')")
    if chain.activation != "linear" or chain.normalization != NORMALIZATIONS["none"]:
        given = f"{chain.activation}, {chain.normalization}"
        raise invalid("chain", given, "a linear chain without normalization",
                      "use activation='linear', normalization='none'")  # fmt: skip


def _plan(chain: Chain, count: int, chains: int, seed: int) -> Plan:
    widths = chain.widths if len(chain.widths) > 1 else chain.width
    frame = Chain(widths, count, gamma=chain.gamma, weights=chain.weights, normalization="none", dtype="float64")
    return Plan(frame, seed, chains, measures=(), burn_in=0, every=1, trace=0, initial="gaussian")


class _Flow:
    """Frames (chains, d, k), one for each chain, that are taken through layers and made orthonormal again."""

    def __init__(self, plan: Plan, engine: backends.Backend) -> None:
        self.plan, self.engine, self.layer = plan, engine, 0
        start = plan.initial, plan.chain, plan.chains, plan.seed, torch.float64
        self._state = initial.state(*start, engine.normals)
        self._nothing = Accumulator.empty([], plan.chains, 1, 0)
        self._orthonormalize()

    def grow(self, layers: int) -> NDArray[np.float64]:
        """Advance; return ln of how much each direction of the frame grew, (k, chains)."""
        counters = np.zeros((len(COUNTERS), self.plan.chains), dtype=np.int64)
        self.engine.advance(self.plan, self._state, self.layer, layers, self._nothing, counters)
        self.layer += layers
        if not torch.isfinite(self._state).all():
            raise FloatingPointError(f"the frame overflowed before layer {self.layer}; use a smaller stride")
        taken_off: NDArray[np.float64] = counters[COUNTERS.index("exponent")] * math.log(2.0)
        return self._orthonormalize() + taken_off

    @one_thread()
    def _orthonormalize(self) -> NDArray[np.float64]:
        rows = self._state[:, : self.plan.chain.width_at(self.layer)]
        Q, R = torch.linalg.qr(rows)
        rows.copy_(Q)
        stretch = torch.diagonal(R, dim1=-2, dim2=-1).abs()
        # What is below the rounding of a column is no number but noise, and differs from processor to processor.
        noise = torch.finfo(R.dtype).eps * len(rows[0]) * torch.linalg.vector_norm(R, dim=-2)
        growth: NDArray[np.float64] = stretch.where(stretch > noise, 0.0).log().T.numpy()
        return growth
