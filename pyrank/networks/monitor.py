"""The rank of every layer of a network, while it runs."""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING, Any, Self

from torch import nn
from torch._C import _current_graph_task_id
from torch.utils.hooks import RemovableHandle

from pyrank.engine.tables import Report
from pyrank.networks.hidden import MATRICES, hidden, named
from pyrank.networks.hooks import Hook
from pyrank.networks.measures import NetworkMeasure, parse
from pyrank.networks.measuring import Measuring
from pyrank.networks.moments import FROM_MOMENTS
from pyrank.networks.selection import Layers, select
from pyrank.networks.summary import Row, describe, frame, picture, remarks, report
from pyrank.networks.tally import Cell, Tally
from pyrank.support.errors import ArgumentError, as_choice, as_integer, invalid

if TYPE_CHECKING:
    import matplotlib.figure
    import pandas as pd


class RankMonitor:
    """Measures the hidden matrix of every layer of a network whenever it runs: ``with RankMonitor(model) as monitor``.

    The network computes what it would compute without: outputs are only read, and parameters, buffers, gradients, the
    random state and train or eval mode are left alone. The hidden matrix of a layer that returns (B, C) is C x B,
    features x samples. Layers of `torch.nn.Module.named_modules` are known by their names there. ``torch.compile`` with
    ``fullgraph=True``, and ``torch.export`` with ``strict=True``, refuse a network that is watched.

    Parameters
    ----------
    model
        Any `torch.nn.Module`. One call of it is a batch; where a layer is called outside of that, its call is one.
    measures
        Measures of pyrank that give one number, ``"explained_rank(0.99)"``, or functions of (1, d, N). The explained
        rank is the number of directions that hold that share of Tr M, with ``centre`` of the variance.
    every
        Measure each so many batches, the first one included. In between it costs nothing.
    layers
        Names, patterns such as ``"blocks.*.mlp"``, types, or predicates of (name, module), one or several; None for
        all modules without children, and ``MultiheadAttention`` in place of its child, which is never called.
    where
        ``"output"`` or ``"input"`` of the layers.
    matrix
        What a feature is where a layer returns (B, C, H, W) or (B, T, D): ``"channels"``, C x BHW and D x BT, or
        ``"samples"``, CHW x B and TD x B. Three dimensions are read as (B, T, D) always, also those of ``Conv1d``.
    centre
        Subtract the mean over samples: the covariance instead of second moments. It is flagged where the samples differ
        from their mean by less than 8 roundings of it, so that what is left is noise.
    pooled
        Measure one matrix of the samples of all batches. Its rank is not the mean of their ranks. Left out is what has
        more than 8,192 features, or another number of them than before.
    output
        Key, attribute or index of the tensor, where a layer returns a dict or a tuple, or is given several arguments;
        None for its first floating one, which is also taken where a layer has none of that name.

    Raises
    ------
    ArgumentError
        If an option cannot be used, or no layer is meant.
    """

    def __init__(
        self,
        model: nn.Module,
        measures: Iterable[Any] = ("participation_ratio", "soft_rank(0.5)"),
        every: int = 1,
        layers: Layers = None,
        *,
        where: str = "output",
        matrix: str = "channels",
        centre: bool = False,
        pooled: bool = False,
        output: str | int | None = None,
    ) -> None:
        self.measures: tuple[NetworkMeasure, ...] = parse(measures)
        self.every = as_integer("every", every, 1, 2**62, "measure every batch with 1")
        self.where = as_choice("where", where, ("output", "input"))
        self.matrix = as_choice("matrix", matrix, MATRICES)
        self.centre, self.pooled, self.output = centre, pooled, output
        others = [str(what) for what in self.measures if what.name not in FROM_MOMENTS]
        if pooled and others:
            raise invalid("measures", others, f"with pooled=True some of {', '.join(FROM_MOMENTS)}", "leave out pooled")
        self.model: nn.Module | None = model
        self.skipped: dict[str, str] = {}
        self._layers = select(model, layers)
        self._types = {name: type(module).__name__ for name, module in self._layers.items()}
        self._by_default = layers is None
        self._cells: dict[str, dict[int, Cell]] = {name: {} for name in self._layers}
        self._runs, self._measured = 0, 0  # calls of the network, and how many there were at the last that was measured
        self._alone: dict[str, int] = defaultdict(int)  # calls of a layer outside of those
        self._calls: dict[str, int] = defaultdict(int)  # of a layer in this batch
        self._due, self._is_inside, self._has_output = True, False, output is None
        self._takes_outputs = where == "output" and output is None and not pooled  # mostly they are hidden matrices
        self._measuring = Measuring(self.measures, centre)
        self._hooks: list[Hook] = []
        self._handles: list[RemovableHandle] = []

    def start(self) -> Self:
        """Watch the network from here on, as ``with`` does at its beginning."""
        if self.model is None:
            raise ArgumentError("model is missing: this is a copy, which only holds what was measured; start the other")
        if self._handles:
            return self
        for name, module in self._layers.items():
            hook = Hook(module, partial(self._see, name))
            hook.is_open = self._due
            self._hooks.append(hook)
            if self.where == "input":
                self._handles.append(module.register_forward_pre_hook(hook, with_kwargs=True))
            else:
                self._handles.append(module.register_forward_hook(hook))
        begin, end = Hook(self.model, self._begin), Hook(self.model, self._end)
        self._handles.append(self.model.register_forward_pre_hook(begin, prepend=True))
        self._handles.append(self.model.register_forward_hook(end, always_call=True))
        return self

    def stop(self) -> None:
        """Leave the network as it was found; what was measured stays."""
        while self._handles:
            self._handles.pop().remove()
        self._hooks.clear()
        self._is_inside = False

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def batches(self) -> int:
        """How many batches there were, measured or not."""
        return self._runs + max(self._alone.values(), default=0)

    def _begin(self, *_: Any) -> None:
        """Begin a batch: the network is called."""
        due = self._runs % self.every == 0
        if due != self._due:
            self._due = due
            for hook in self._hooks:
                hook.is_open = due
        self._is_inside = True
        self._runs += 1
        if due:
            self._measured = self._runs
        self._calls.clear()

    def _end(self, *_: Any) -> None:
        self._is_inside = False

    def _see(self, name: str, *seen: Any) -> None:
        """Measure what a layer was given, (args, kwargs), or returned, (args, output)."""
        if not self._is_inside and _current_graph_task_id() < 0:  # called alone, and not again in a backward pass
            number = self._alone[name]
            self._alone[name] = number + 1
            self._calls[name] = -1 if number % self.every else 0
        call = self._calls[name]
        if call < 0:
            return
        self._calls[name] = call + 1
        cell = self._cells[name].get(call)
        if cell is not None and self._takes_outputs and self._measuring.took(seen[1], cell, self._measured):
            return
        given = dict(enumerate(seen[0])) | seen[1] if self.where == "input" else seen[1]
        if not self._has_output:
            self._has_output = named(given, self.output) is not given
        X = hidden(given, self.matrix, self.output)
        if isinstance(X, str):
            self.skipped[name] = X
            return
        X = X.detach()
        cell = cell or Cell([Tally() for _ in self.measures])
        if self.pooled and X.numel() and (reason := cell.why_not_pooled(X.shape[-1])):
            self.skipped[name] = reason
            return
        self._cells[name][call] = cell
        if not X.numel():
            return
        cell.saw(X.shape, self._measured)
        if self.pooled:
            cell.add(X, self.centre)
        else:
            self._measuring.take(X, cell)

    def merge(self, *others: RankMonitor) -> None:
        """Add what others have measured, such as those of other processes, which can be sent there by pickle.

        Parameters
        ----------
        *others
            Monitors of the same layers, with the same options.

        Raises
        ------
        ArgumentError
            If they measure something else.
        """
        for other in others:
            mine, theirs = self._options(), other._options()
            if mine != theirs:
                different = {key: theirs[key] for key in mine if mine[key] != theirs[key]}
                raise invalid("other", different, "the options and layers of this monitor", "make both alike")
        for other in others:
            self.skipped |= other.skipped
            for name, cells in other._cells.items():
                for call, cell in cells.items():
                    fresh = Cell([Tally() for _ in self.measures])
                    whole = self._cells[name].setdefault(call, fresh)
                    if cell.pool and (reason := whole.why_not_pooled(len(cell.pool.mean))):
                        self.skipped[name] = reason
                        continue
                    whole.merge(cell, self.centre)
                    if cell.when == other._measured:
                        whole.when = self._measured
            for name, count in other._alone.items():
                self._alone[name] += count
            self._runs += other._runs
            self._has_output |= other._has_output

    def _options(self) -> dict[str, Any]:
        names = {"measures": list(map(str, self.measures)), "layers": list(self._cells)}
        return names | {key: getattr(self, key) for key in ("where", "matrix", "centre", "pooled", "output")}

    def __getstate__(self) -> dict[str, Any]:
        """Send what was measured, and not the network."""
        left_out: dict[str, Any] = {"model": None, "_layers": {}, "_hooks": [], "_handles": [], "_measuring": None}
        return self.__dict__ | left_out

    def _rows(self) -> list[Row]:
        """Return what is known of each call of each layer, in the order of `named_modules`."""
        rows = []
        for name, cells in self._cells.items():
            for call, cell in sorted(cells.items()):
                rows.append(Row(name, self._types[name], call, cell, cell.measured(self.measures)))
            if not cells and not (self._by_default and name in self.skipped):
                rows.append(Row(name, self._types[name], 0, None, [Tally() for _ in self.measures]))
        return rows

    def table(self) -> pd.DataFrame:
        """Return a row for each layer, call and measure, in the order of `torch.nn.Module.named_modules`.

        Returns
        -------
        pandas.DataFrame
            ``layer``, ``type``, ``call`` (0, 1, ... where a layer is called several times in a batch), ``measure``;
            ``mean``, its standard error ``stderr``, ``min`` and ``max`` over batches; how many ``batches``, and
            ``features`` and ``samples`` of the hidden matrix in the last one. ``attrs`` holds the options.

        Warns
        -----
        UserWarning
            If a layer was never called: its row has 0 batches. If layers are left out, no layer has the ``output`` that
            was named, or centred samples differ by rounding alone.

        Raises
        ------
        ImportError
            If pandas is missing.
        """
        rows = self._rows()
        for remark in remarks(rows, self.skipped):
            warnings.warn(remark, stacklevel=2)
        if not self._has_output and any(row.batches for row in rows):
            remark = f"output = {self.output!r}: no layer has one of that name; the first tensor of each was measured"
            warnings.warn(remark, stacklevel=2)
        return frame(rows, self.measures, self._options())

    def scalars(self) -> dict[str, float]:
        """Return the measures of the last batch that was measured, with ``pooled`` of all batches, for any logger.

        Returns
        -------
        dict
            By ``layer/measure``, such as ``"3.relu/participation_ratio"``; ``3.relu[1]`` is a second call in a batch. A
            layer that was not called in that batch is missing; a network without children goes by its type.
        """
        return {
            f"{row.name}/{what}": tally.last
            for row in self._rows()
            for what, tally in zip(self.measures, row.tallies, strict=True)
            if tally.count and (self.pooled or (row.cell is not None and row.cell.when == self._measured))
        }

    def plot(self, *measures: str) -> matplotlib.figure.Figure:
        """Draw rank against depth: the mean of each measure, layer by layer, and its range over batches.

        Parameters
        ----------
        *measures
            What to draw; everything if nothing is given.

        Returns
        -------
        matplotlib.figure.Figure
            To be shown in a notebook, or written by its ``savefig``.

        Raises
        ------
        ArgumentError
            If nothing was measured, or one of the measures was not.
        ImportError
            If matplotlib is missing.
        """
        return picture(self._rows(), self.measures, parse(measures) if measures else self.measures, self._caption())

    def _caption(self) -> str:
        seen = f"{self.where} of layers, {describe(self.matrix)}"
        return (
            f"batches: {self.batches:,}, measured: every {self.every:,}; {seen}"
            f"{', centred' if self.centre else ''}{', pooled over batches' if self.pooled else ''}"
        )

    def __repr__(self) -> str:
        return self._report().text()

    def _repr_html_(self) -> str:
        return self._report().html()

    def _report(self) -> Report:
        return report(self._rows(), self.measures, self._caption(), self.skipped)
