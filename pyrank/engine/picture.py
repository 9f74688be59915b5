"""What a figure shows of an estimate, as arrays over layers."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pyrank.estimate import Estimate
from pyrank.estimate.running import running_mean
from pyrank.plotting.records import Record
from pyrank.specs.plan import Schedule


def trace_layers(e: Estimate, schedule: Schedule) -> NDArray[np.int64]:
    """Return the layers of the trace of an estimate whose samples were taken on a schedule."""
    assert e.trace is not None
    return _layers(e.trace_stride * np.arange(e.trace.shape[1]), schedule)


def record(name: str, e: Estimate, schedule: Schedule) -> Record:
    """Return what is drawn of it; where no trace was kept, chains are shown by the means of their batches."""
    running = running_mean(e.batch_means, e.batch_length)
    ends = _layers(running.samples - 1, schedule)
    values = e.batch_means if e.trace is None else e.trace
    return Record(
        name=name,
        value=str(e),
        layers=ends if e.trace is None else trace_layers(e, schedule),
        paths=values,
        values=None if e.trace is None and e.batch_length > 1 else values,
        counts=None if e.histogram is None else e.histogram.sum(axis=0),
        ends=ends,
        mean=running.mean,
        low=running.low,
        high=running.high,
    )


def _layers(samples: NDArray[np.int64], schedule: Schedule) -> NDArray[np.int64]:
    return schedule.burn_in + schedule.every * samples
