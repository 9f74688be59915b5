"""Whole runs as results of tasks: all that is in a `pyrank.Run`, traces and last states, exactly."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from pyrank.engine import simulation
from pyrank.engine.run import Run
from pyrank.estimate import Estimate
from pyrank.specs.chain import Chain
from pyrank.specs.measures import parse_measures
from pyrank.specs.plan import Plan

KEPT = ("depth", "state", "estimates", "events", "exponent", "backend", "reason", "seconds")
PLAN = ("seed", "chains", "burn_in", "every", "trace", "initial", "observe", "snapshot_every")


def whole_run(
    chain: Chain, depth: int, options: Mapping[str, Any], device: str,
    threads: int | None = None, checkpoint: Path | None = None, report: Callable[[float], object] | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Simulate, and return everything that `restored` needs to make the run again."""
    progress = None if report is None else lambda layers: report(layers / depth)
    how = {"threads": threads, "checkpoint": checkpoint, "progress": progress, "device": device}
    run = simulation.simulate(chain, depth, **{**how, **options})
    return {name: getattr(run, name) for name in KEPT} | {"plan": {name: getattr(run.plan, name) for name in PLAN}}


def restored(chain: Chain, options: Mapping[str, Any], kept: Mapping[str, Any]) -> Run:
    """Return the run of which `whole_run` has returned ``kept``."""
    measures = parse_measures(options.get("measures", simulation.DEFAULT_MEASURES))
    plan = Plan(
        chain=chain,
        measures=tuple(measure for measure in measures if not measure.is_snapshot),
        snapshots=tuple(measure for measure in measures if measure.is_snapshot),
        **kept["plan"],
    )
    content = {name: kept[name] for name in KEPT}
    content["state"] = torch.from_numpy(content["state"])
    content["estimates"] = {name: Estimate(**numbers) for name, numbers in content["estimates"].items()}
    return Run(plan=plan, **content)
