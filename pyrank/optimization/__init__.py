"""What normalisation does to optimisation: least squares, equivalent networks without it, Hessian spectra.

>>> from pyrank import optimization
>>> problem = optimization.LeastSquares.random(features=3, condition=1000, seed=0)
>>> path = problem.descend(normalized=True, learning_rate=1.0, steps=1_000)
>>> bool(path.residual[-1] < path.residual[0])
True
"""

from typing import TYPE_CHECKING

from pyrank.support.lazy import names_of

if TYPE_CHECKING:
    from pyrank.optimization.equivalent import equivalent_network
    from pyrank.optimization.hessian import HessianSpectrum, hessian_eigenvalues
    from pyrank.optimization.least_squares import Descent, LeastSquares
    from pyrank.optimization.sharpness import SharpnessMonitor

_HOMES = {
    "equivalent": "equivalent_network",
    "hessian": "HessianSpectrum hessian_eigenvalues",
    "least_squares": "Descent LeastSquares",
    "sharpness": "SharpnessMonitor",
}

__all__ = [
    "Descent",
    "HessianSpectrum",
    "LeastSquares",
    "SharpnessMonitor",
    "equivalent_network",
    "hessian_eigenvalues",
]

__getattr__, __dir__ = names_of(__name__, _HOMES)
