"""One experiment, or all of them on one page."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Unpack
from warnings import warn

from pyrank import plotting
from pyrank.experiments.catalogue import EXPERIMENTS, load
from pyrank.experiments.declaration import Experiment
from pyrank.experiments.index_page import html
from pyrank.experiments.overview import Outcome, Overview
from pyrank.experiments.results import Result, finished
from pyrank.experiments.tasks import How
from pyrank.support.errors import as_choice, invalid
from pyrank.support.files import NotWritten, prepare_folder, write_all
from pyrank.support.locks import sole_writer
from pyrank.support.progress import count_bar
from pyrank.support.signals import Stopped

PRESETS = ("quick", "paper")
"""Every experiment has these."""


def reproduce(
    experiment: str | Experiment,
    preset: str = "quick",
    out: str | os.PathLike[str] | None = None,
    *,
    device: str = "cpu",
    progress: bool | None = None,
    workers: int | None = None,
) -> Result:
    """Reproduce a published result, or run an experiment of your own.

    Parameters
    ----------
    experiment
        One of `EXPERIMENTS`, the path of a Python file that declares an `Experiment`, or such an object.
    preset
        ``"quick"`` or ``"paper"``; ``"gpu"`` for ``"soft-rank-scaling"``: the published size for a GPU;
        ``"fashion-mnist"`` for ``"pretraining-and-batchnorm"``: these images in place of CIFAR-10; ``"as-published"``
        for networks where the authors' script differs from their text.
    out
        Folder for the files, created if needed; ``results/<name>-<preset>`` if not given. An unfinished run found
        there is continued.
    device
        Where chains are simulated, as in `pyrank.simulate`; all else is computed on the CPU.
    progress
        Whether to show a progress bar; if not given, only on a terminal.
    workers
        How many processes compute, as in `pyrank.Study.run`. The result does not depend on it.

    Returns
    -------
    Result

    Raises
    ------
    ArgumentError
        If the experiment or preset is unknown, the folder cannot be used or is written to by another run, or the device
        is not there or has no kernel for one of the chains.
    ImportError
        If matplotlib is missing.
    KeyboardInterrupt
        On Ctrl-C, or on SIGTERM while chains are simulated; the same call continues.

    Warns
    -----
    NotWritten
        If files cannot be written, for example on a full disk; the result is returned.
    """
    if not isinstance(experiment, Experiment):
        experiment = load(experiment)
    if preset not in experiment.presets:
        raise invalid("preset", preset, f"one of {', '.join(experiment.presets)}", "use 'quick' for a first look")
    folder = Path("results", f"{experiment.name}-{preset}") if out is None else Path(out)
    with _held(folder, device):
        return experiment.run(experiment.presets[preset], folder, device=device, progress=progress, workers=workers)


def reproduce_all(
    preset: str = "quick",
    out: str | os.PathLike[str] | None = None,
    *,
    device: str = "cpu",
    progress: bool | None = None,
    workers: int | None = None,
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
    device, progress, workers
        As in `reproduce`.

    Returns
    -------
    Overview

    Raises
    ------
    ArgumentError, ImportError, KeyboardInterrupt
        As `reproduce`, before the first experiment or when it is stopped.

    Warns
    -----
    NotWritten
        As `reproduce`.
    """
    as_choice("preset", preset, PRESETS)
    folder = Path("results", f"all-{preset}") if out is None else Path(out)
    how: How = {"device": device, "progress": progress, "workers": workers}
    began = time.perf_counter()
    outcomes: list[Outcome] = []

    def show() -> tuple[Overview, str]:
        missing = tuple(EXPERIMENTS)[len(outcomes) :]
        overview = Overview(preset, time.perf_counter() - began, tuple(outcomes), missing, folder / "index.html")
        return overview, write_all({overview.page: html(overview)})[1]

    with _held(folder, device), count_bar(len(EXPERIMENTS), progress) as bar:
        overview, unwritten = show()
        for name in EXPERIMENTS:
            bar.set_description(name)
            try:
                outcomes.append(_outcome(name, preset, folder / name, **how))
            except KeyboardInterrupt as stop:
                where = f"interrupted in {name}; the same command continues; what is finished: {overview.page}"
                raise Stopped.after(stop, where) from stop
            overview, unwritten = show()
            bar.update()
    if unwritten:
        warn(unwritten, NotWritten, stacklevel=2)
    return replace(overview, written=not unwritten)


@contextmanager
def _held(folder: Path, device: str) -> Iterator[None]:
    """Hold a folder for this run alone, once there is what draws and what simulates."""
    plotting.require()
    from pyrank.engine.gpus import check_device  # with torch, which mistakes found so far do not need

    check_device(device)
    prepare_folder("out", folder)
    with sole_writer("out", folder):
        yield


def _outcome(name: str, preset: str, out: Path, **how: Unpack[How]) -> Outcome:
    """Reproduce one experiment, whatever goes wrong in it."""
    began = time.perf_counter()
    try:
        experiment = load(name)
        known = finished(name, out, experiment.presets[preset])
        result = known or reproduce(experiment, preset, out, **how)
        return Outcome(name, time.perf_counter() - began, result, earlier=known is not None)
    except Exception as problem:
        error = " ".join(f"{type(problem).__name__}: {problem}".split())
        return Outcome(name, time.perf_counter() - began, error=error)
