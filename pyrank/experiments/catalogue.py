"""The experiments by name, and how one is found: in this package, or in a file of your own."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterable
from importlib import import_module, invalidate_caches
from importlib.util import find_spec, module_from_spec
from pathlib import Path
from traceback import extract_tb
from types import ModuleType
from typing import TYPE_CHECKING

from pyrank.support.errors import invalid

if TYPE_CHECKING:
    from pyrank.experiments.declaration import Experiment

_FOLDERS = {
    "chains": "rank-vs-depth soft-rank-scaling bound-check ergodic-average whitening-vs-batchnorm full-rank-batches "
    "spectrum-amplification vanilla-collapse random-relu-rank escaped-outlier indicative-tree recentering-angles "
    "outlier-stability",
    "networks": "depth-and-learning initialization-and-learning pretraining-and-batchnorm breaking-batchnorm "
    "rank-during-training gradient-directions",
    "optimization": "normalized-least-squares equivalent-network lp-normalizations noise-robustness "
    "batchnorm-smoothness",
}
EXPERIMENTS = {name: folder for folder, names in _FOLDERS.items() for name in names.split()}
"""Every experiment and its folder, in the order of the papers; ``name-of-it`` is declared in ``name_of_it.py``."""

CHAPTERS = {
    "chains": "Random chains",
    "networks": "Networks and how they learn",
    "optimization": "Optimisation",
}
"""The folders, and what they are called on pages."""


def by_chapter(names: Iterable[str]) -> dict[str, list[str]]:
    """Group names of experiments by the titles of their chapters, in their order; "" for those that are in none."""
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(CHAPTERS.get(EXPERIMENTS.get(name, ""), ""), []).append(name)
    return groups


def question(name: str) -> str:
    """Return the question of an experiment, which begins its file, without the wait for importing it."""
    file = Path(__file__).parent / EXPERIMENTS[name] / f"{_module(name)}.py"
    text = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
    return " ".join(text.partition("?")[0].split()) + "?"


def load(name: str) -> Experiment:
    """Import an experiment: one of `EXPERIMENTS`, or that which a Python file declares as ``EXPERIMENT``.

    Raises
    ------
    ArgumentError
        If there is none of this name, or the file declares none, cannot be imported, or has the name of another module.
    """
    if str(name).endswith(".py"):
        return _from_file(Path(name))
    if name not in EXPERIMENTS:
        wanted = f"one of {', '.join(EXPERIMENTS)}, or a file such as my_experiment.py"
        raise invalid("experiment", name, wanted, "see `pyrank reproduce --list`")
    experiment: Experiment = import_module(f"pyrank.experiments.{EXPERIMENTS[name]}.{_module(name)}").EXPERIMENT
    return experiment


def _module(name: str) -> str:
    return name.replace("-", "_")


def _from_file(path: Path) -> Experiment:
    from pyrank.experiments.declaration import Experiment

    if not path.is_file():
        raise invalid("experiment", str(path), "a Python file", "check the path")
    experiment = getattr(_imported(path), "EXPERIMENT", None)
    if not isinstance(experiment, Experiment):
        wanted = "a file with EXPERIMENT = pyrank.experiments.Experiment(...)"
        raise invalid("experiment", str(path), wanted, "see docs/your_own_experiment.md")
    return experiment


def _imported(path: Path) -> ModuleType:
    """Import a file as workers do: by its name, from its folder, which is the last of the places looked in."""
    if (folder := str(path.parent.absolute())) not in sys.path:
        sys.path.append(folder)
    invalidate_caches()
    try:
        spec = find_spec(path.stem)
    except (ImportError, ValueError):  # a name with a dot, or __main__
        spec = None
    if spec is None or spec.loader is None or Path(spec.origin or "").resolve() != path.resolve():
        raise invalid("experiment", str(path), "a name that a module can have and no other one has", "rename it")
    module = module_from_spec(spec)
    sys.modules[path.stem] = module  # dataclasses look their module up
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[path.stem]
        lines = [f"line {at.lineno}: " for at in extract_tb(error.__traceback__) if at.filename == spec.origin]
        told = f"{''.join(lines[-1:])}{type(error).__name__}: {error}"
        remedy = f"correct it, `python {path}` shows more"
        raise invalid("experiment", str(path), f"a file that can be imported ({told})", remedy) from error
    return module
