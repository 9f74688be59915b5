"""Published results, reproduced: each experiment is one question in one file, with the citation as its docstring.

An experiment ``name-of-it`` lives in the module ``chains/name_of_it``, which has

* ``PRESETS``: what to compute, for at least ``"quick"`` (a minute or so) and ``"paper"`` (the published size),
* ``reproduce(settings, out, *, device, progress)``: compute it, end with `publish`, which writes the files into the
  folder ``out`` and returns a `Result`.

The first paragraph of its docstring is the question, the second the citation. Inside, data flows one way: settings ->
simulate -> rows of a table -> fit -> verdict. A run that was stopped continues from its checkpoints in ``out``. Nothing
here prints.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol, cast

from pyrank import plotting
from pyrank.experiments.claims import Claim, at_least, at_most, close_to, provisional
from pyrank.experiments.everything import reproduce_all
from pyrank.experiments.overview import Outcome, Overview
from pyrank.experiments.results import Result, publish
from pyrank.support.errors import invalid
from pyrank.support.files import prepare_folder

__all__ = [
    "EXPERIMENTS",
    "Claim",
    "Experiment",
    "Outcome",
    "Overview",
    "Result",
    "at_least",
    "at_most",
    "close_to",
    "load",
    "provisional",
    "publish",
    "reproduce",
    "reproduce_all",
]

EXPERIMENTS = {
    "soft-rank-scaling": "How fast does the rank of a linear BN chain grow with its width? "
    "(Daneshmand et al. 2020, Fig. 3a, Theorem 2)",
    "rank-vs-depth": "Does batch normalisation keep the rank that a vanilla network loses with depth? "
    "(Daneshmand et al. 2020, Fig. 2)",
    "spectrum-amplification": "How does batch normalisation lift the spectrum of an almost collinear batch? "
    "(Daneshmand et al. 2020, Fig. 3b)",
    "vanilla-collapse": "How fast does an unnormalised linear chain collapse to rank one? "
    "(Daneshmand et al. 2020, Lemma 3)",
    "ergodic-average": "Is the average over the layers of one deep chain the average over many chains? "
    "(Daneshmand et al. 2020, Theorem 2, talk)",
    "whitening-vs-batchnorm": "What does whitening add to the rank that BN keeps, and what does it cost? "
    "(Daneshmand et al. 2020)",
    "bound-check": "Is E ||M||_F^2 at most of order d sqrt(d) in a linear BN chain? "
    "(Daneshmand et al. 2020, proof of Theorem 2)",
    "escaped-outlier": "Does one sample leave the batch when a ReLU network recentres without rescaling? "
    "(Nachum et al. 2024, Fig. 3)",
    "recentering-angles": "At which angles do samples settle with and without recentring? (Nachum et al. 2024, Fig. 5)",
    "indicative-tree": "How does the 1-d model of recentring and ReLU form clusters? (Nachum et al. 2024, Fig. 4)",
    "random-relu-rank": "How far does a random ReLU layer raise the rank of its inputs? "
    "(Nachum et al. 2024, Lemma 2, Theorem 3)",
    "outlier-stability": "Does a batch return to a cluster and an outlier when it is disturbed? (Nachum et al. 2024)",
}
"""Every experiment by name, with its question: listing them imports none."""


class Experiment(Protocol):
    """What the module of an experiment offers."""

    PRESETS: Mapping[str, Any]

    def reproduce(self, settings: Any, out: Path, *, device: str = "cpu", progress: bool | None = None) -> Result:
        """Compute, write the files into ``out``, and judge the claims."""


def load(name: str) -> Experiment:
    """Import an experiment.

    Raises
    ------
    ArgumentError
        If there is none of this name.
    """
    if name not in EXPERIMENTS:
        raise invalid("experiment", name, f"one of {', '.join(EXPERIMENTS)}", "see `pyrank reproduce --list`")
    return cast("Experiment", import_module(f"pyrank.experiments.chains.{name.replace('-', '_')}"))


def reproduce(
    name: str,
    preset: str = "quick",
    out: str | os.PathLike[str] | None = None,
    *,
    device: str = "cpu",
    progress: bool | None = None,
) -> Result:
    """Reproduce a published result.

    Parameters
    ----------
    name
        One of `EXPERIMENTS`.
    preset
        ``"quick"`` or ``"paper"``; ``"gpu"`` for ``"soft-rank-scaling"``: the published size for a GPU.
    out
        Folder for the files, created if needed; ``results/<name>-<preset>`` if not given. An unfinished run found
        there is continued.
    device
        Where chains are simulated, as in `pyrank.simulate`; all else is computed on the CPU.
    progress
        Whether to show a progress bar; if not given, only on a terminal.

    Returns
    -------
    Result

    Raises
    ------
    ArgumentError
        If a name is unknown, the folder cannot be used or belongs to another run, or the device is not there or has
        no kernel for one of the chains.
    ImportError
        If matplotlib is missing.
    Interrupted
        On Ctrl-C; the same call continues.
    """
    experiment = load(name)
    if preset not in experiment.PRESETS:
        raise invalid("preset", preset, f"one of {', '.join(experiment.PRESETS)}", "use 'quick' for a first look")
    folder = Path("results", f"{name}-{preset}") if out is None else Path(out)
    plotting.require()
    from pyrank.engine.backends import check_device  # with torch, which mistakes found so far do not need

    check_device(device)
    prepare_folder("out", folder)
    return experiment.reproduce(experiment.PRESETS[preset], folder, device=device, progress=progress)
