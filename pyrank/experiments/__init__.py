"""Published results, reproduced: each experiment is one question in one file, declared as an `Experiment`.

``name-of-it`` is declared in ``<subject>/name_of_it.py``; what all experiments share stands here: tasks are run and
resumed, and their results become rows, claims, a table, a figure and a page. Nothing here prints.
"""

from typing import TYPE_CHECKING

from pyrank.support.lazy import names_of

if TYPE_CHECKING:
    from pyrank.experiments.catalogue import EXPERIMENTS, by_chapter, load, question
    from pyrank.experiments.claims import Claim, at_least, at_most, between, close_to, extension, provisional, published
    from pyrank.experiments.declaration import Experiment, Found, Table
    from pyrank.experiments.overview import Outcome, Overview
    from pyrank.experiments.papers import DANESHMAND, MORWANI, NACHUM, TALK, Paper, Source
    from pyrank.experiments.reproduction import reproduce, reproduce_all
    from pyrank.experiments.results import Result
    from pyrank.experiments.tables import Column, Row
    from pyrank.experiments.tasks import Computation, Simulation

_HOMES = {
    "catalogue": "EXPERIMENTS by_chapter load question",
    "claims": "Claim at_least at_most between close_to extension provisional published",
    "declaration": "Experiment Found Table",
    "overview": "Outcome Overview",
    "papers": "DANESHMAND MORWANI NACHUM TALK Paper Source",
    "reproduction": "reproduce reproduce_all",
    "results": "Result",
    "tables": "Column Row",
    "tasks": "Computation Simulation",
}

__all__ = [
    "DANESHMAND",
    "EXPERIMENTS",
    "MORWANI",
    "NACHUM",
    "TALK",
    "Claim",
    "Column",
    "Computation",
    "Experiment",
    "Found",
    "Outcome",
    "Overview",
    "Paper",
    "Result",
    "Row",
    "Simulation",
    "Source",
    "Table",
    "at_least",
    "at_most",
    "between",
    "by_chapter",
    "close_to",
    "extension",
    "load",
    "provisional",
    "published",
    "question",
    "reproduce",
    "reproduce_all",
]

__getattr__, __dir__ = names_of(__name__, _HOMES)
