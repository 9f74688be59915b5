"""Many runs: what is asked of each, where their results are kept, and who computes them.

A `Task` is a function and its arguments, a `Grid` the tasks of all combinations of some values, and a `Study` runs them
and keeps what they return in one file. Only `simulations` knows chains.
"""

from typing import TYPE_CHECKING

from pyrank.support.lazy import names_of

if TYPE_CHECKING:
    from pyrank.studies.grids import Grid, grid
    from pyrank.studies.study import Study
    from pyrank.studies.task import Task

_HOMES = {"grids": "Grid grid", "study": "Study", "task": "Task"}

__all__ = ["Grid", "Study", "Task", "grid"]

__getattr__, __dir__ = names_of(__name__, _HOMES)
