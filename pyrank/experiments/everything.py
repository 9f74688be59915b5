"""All experiments in a row, on one page."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

from pyrank import experiments, plotting
from pyrank.experiments.index_page import html
from pyrank.experiments.overview import Outcome, Overview
from pyrank.experiments.results import finished
from pyrank.support.errors import as_choice
from pyrank.support.files import prepare_folder, write

if TYPE_CHECKING:
    from pyrank.experiments import Experiment

PRESETS = ("quick", "paper")
"""Every experiment has these."""


def reproduce_all(
    preset: str = "quick",
    out: str | os.PathLike[str] | None = None,
    *,
    device: str = "cpu",
    progress: bool | None = None,
) -> Overview:
    """Reproduce every published result, and show them all on one page, ``index.html``.

    The page is rewritten after each experiment. An experiment that raises an error is shown as failed, and the others
    go on. What this version finished with the same settings in the same folder is only read: delete the folder of an
    experiment to have it computed again.

    Parameters
    ----------
    preset
        ``"quick"`` or ``"paper"``.
    out
        Folder for the page and for one folder an experiment, created if needed; ``results/all-<preset>`` if not given.
    device
        Where chains are simulated, as in `pyrank.simulate`. An experiment with a chain that cannot run there fails.
    progress
        Whether to show progress bars; if not given, only on a terminal.

    Returns
    -------
    Overview

    Raises
    ------
    ArgumentError
        If the preset is unknown, or the folder cannot be used.
    ImportError
        If matplotlib is missing.
    KeyboardInterrupt
        On Ctrl-C; the same call continues.
    """
    as_choice("preset", preset, PRESETS)
    plotting.require()
    folder = Path("results", f"all-{preset}") if out is None else Path(out)
    prepare_folder("out", folder)

    from pyrank.experiments.running import count_bar

    began = time.perf_counter()
    outcomes: list[Outcome] = []

    def show() -> Overview:
        missing = tuple(experiments.EXPERIMENTS)[len(outcomes) :]
        overview = Overview(preset, time.perf_counter() - began, tuple(outcomes), missing, folder / "index.html")
        write(overview.page, html(overview))
        return overview

    overview = show()
    with count_bar(len(experiments.EXPERIMENTS), progress) as bar:
        for name in experiments.EXPERIMENTS:
            bar.set_description(name)
            try:
                outcomes.append(_outcome(name, preset, folder / name, device, progress))
            except KeyboardInterrupt as stop:
                where = f"interrupted in {name}; the same command continues; what is finished: {overview.page}"
                raise KeyboardInterrupt(where) from stop
            overview = show()
            bar.update()
    return overview


def _outcome(name: str, preset: str, out: Path, device: str, progress: bool | None) -> Outcome:
    """Reproduce one experiment, whatever goes wrong in it."""
    began = time.perf_counter()
    result, error, citation, earlier = None, "", "", False
    try:
        experiment = experiments.load(name)
        citation = _citation(experiment)
        result = finished(name, out, experiment.PRESETS[preset])
        earlier = result is not None
        result = result or experiments.reproduce(name, preset, out, device=device, progress=progress)
    except Exception as problem:
        error = " ".join(f"{type(problem).__name__}: {problem}".split())
    seconds = time.perf_counter() - began
    return Outcome(name, experiments.EXPERIMENTS[name], citation, seconds, result, error, earlier)


def _citation(experiment: Experiment) -> str:
    """Return the second paragraph of the docstring."""
    paragraphs = (experiment.__doc__ or "").split("\n\n")
    return " ".join(paragraphs[1].split()) if len(paragraphs) > 1 else ""
