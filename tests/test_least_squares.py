"""Least squares with and without normalisation: gradients against autograd, rates and paths against each other."""

import numpy as np
import pytest
import torch

from pyrank import theory
from pyrank.optimization import LeastSquares
from pyrank.support.errors import ArgumentError

from oracles import agrees
from tolerances import EXACT


@pytest.fixture(params=[2, 3, 7, 20])
def problem(request):
    return LeastSquares.random(request.param, condition=50, seed=request.param, problems=4)


def loss(problem, v):
    """E (y - x.v)^2 / 2 less the part that does not depend on v, of all problems together."""
    H, g = torch.from_numpy(problem.H), torch.from_numpy(problem.g)
    return (torch.einsum("pi,pij,pj->p", v, H, v) / 2 - (v * g).sum(1)).sum()


# --- problems and gradients ------------------------------------------------------------------------------------------


def test_random_problems_are_what_they_say(problem):
    d = problem.H.shape[-1]
    np.testing.assert_allclose(np.linalg.eigvalsh(problem.H), np.tile(np.geomspace(1, 50, d), (4, 1)), rtol=EXACT)
    np.testing.assert_allclose(np.linalg.solve(problem.H, problem.g[..., None])[..., 0], problem.u, rtol=1e-7)
    more = LeastSquares.random(d, condition=50, seed=d, problems=6)
    assert np.array_equal(more.H[:4], problem.H)
    assert np.array_equal(LeastSquares.random(d, 50, seed=d).u, problem.u[0])
    assert not np.array_equal(LeastSquares.random(d, 50, seed=d + 1).u, problem.u[0])


def test_random_directions_are_uniform():
    """E H = mean eigenvalue times I, and u has mean 0 and variance 1."""
    many = LeastSquares.random(3, condition=10, seed=1, problems=3000)
    agrees(many.H, np.geomspace(1, 10, 3).mean() * np.eye(3))
    agrees(many.u, 0)
    agrees(many.u**2, 1)


def test_gradients_are_those_of_autograd(problem):
    rng = np.random.default_rng(1)
    w, scale = rng.standard_normal(problem.u.shape), rng.standard_normal(4)
    t = torch.from_numpy(w).requires_grad_()
    (expected,) = torch.autograd.grad(loss(problem, t), t)
    np.testing.assert_allclose(problem.gradient(w), expected, rtol=EXACT, atol=1e-12)
    gamma = torch.from_numpy(scale).requires_grad_()
    size = torch.einsum("pi,pij,pj->p", t, torch.from_numpy(problem.H), t).sqrt()
    expected = torch.autograd.grad(loss(problem, (gamma / size)[:, None] * t), (t, gamma))
    found = problem.normalized_gradient(w, scale)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=EXACT, atol=1e-12)
    np.testing.assert_allclose((found[0] * w).sum(-1), 0, atol=1e-12 * np.abs(found[0] * w).max())


def test_residual_is_the_error_of_the_prediction():
    """Against a data set whose second moments are H."""
    rng = np.random.default_rng(2)
    x, u, v = rng.standard_normal((50, 3)), rng.standard_normal(3), rng.standard_normal(3)
    problem = LeastSquares(x.T @ x / 50, u)
    assert problem.residual(v) == pytest.approx(np.sqrt(np.mean((x @ (v - u)) ** 2)), rel=EXACT)
    assert problem.residual(u) == 0


# --- paths -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("normalized", [True, False])
def test_paths_are_steps_along_the_gradient(normalized):
    """The path of four problems at once, against a loop over each that calls the gradients."""
    problems = LeastSquares.random(3, 10, seed=3, problems=4)
    path = problems.descend(normalized, learning_rate=0.05, steps=30, scale_rate=0.3)
    for k in range(4):
        one = LeastSquares(problems.H[k], problems.u[k])
        w = np.ones(3) / np.sqrt(3)
        scale = np.sqrt(w @ one.H @ w)
        for step in range(31):
            v = scale * w / np.sqrt(w @ one.H @ w) if normalized else w
            np.testing.assert_allclose(path.weights[step, k], v, rtol=EXACT)
            assert path.residual[step, k] == pytest.approx(one.residual(v), rel=EXACT)
            if normalized:
                by_w, by_scale = one.normalized_gradient(w, scale)
                w, scale = w - 0.05 * by_w, scale - 0.3 * by_scale
            else:
                w = w - 0.05 * one.gradient(w)


def test_both_methods_start_from_the_same_point(problem):
    plain, normalized = (problem.descend(kind, 0.01, 3, start=np.arange(1, problem.u.shape[-1] + 1))
                         for kind in (False, True))  # fmt: skip
    np.testing.assert_allclose(plain.weights[0], normalized.weights[0], rtol=EXACT)
    assert plain.scale is None
    assert normalized.scale.shape == (4, 4)


def test_recording_less_changes_no_bit(problem):
    whole, some = problem.descend(steps=25), problem.descend(steps=25, every=10)
    assert some.steps.tolist() == [0, 10, 20]
    for name in ("weights", "residual", "w", "scale"):
        assert np.array_equal(getattr(some, name), getattr(whole, name)[::10])


@pytest.mark.parametrize("normalized", [True, False])
def test_each_problem_has_a_step_of_its_own(normalized):
    problems, rates, scales = LeastSquares.random(3, 10, seed=3, problems=4), np.geomspace(0.01, 0.2, 4), np.arange(4.0)
    path = problems.descend(normalized, rates, 20, scale_rate=scales)
    for k in range(4):
        alone = LeastSquares(problems.H[k], problems.u[k]).descend(normalized, rates[k], 20, scale_rate=scales[k])
        np.testing.assert_allclose(path.weights[:, k], alone.weights, rtol=EXACT)


@pytest.mark.parametrize("condition", [10, 1000])
def test_normalised_descent_converges_at_rates_where_plain_descent_diverges(condition):
    """The claim of section 2, and what is behind it: w grows until its steps fit."""
    problems = LeastSquares.random(2, condition, seed=4, problems=50)
    plain = [problems.descend(False, factor * 2.0 / condition, 1000, every=100).residual for factor in (0.999, 1.01)]
    assert np.all(np.diff(plain[0], axis=0) < 0)
    assert np.all(plain[1][-1] > 1e3 * plain[1][0])
    for learning_rate in (0.01, 1.0, 1000.0):
        path = problems.descend(True, learning_rate, 1500, scale_rate=1.0, every=100)
        lengths = np.linalg.norm(path.w, axis=-1)
        assert np.all(np.diff(lengths, axis=0) >= -EXACT * lengths[1:])
        assert np.all(path.residual[-1] < path.residual[0])
    assert np.all(problems.descend(True, 1.0, 1000, scale_rate=2.1, every=100).residual[-1] > 1e3)  # the scale's limit


# --- theory ----------------------------------------------------------------------------------------------------------


def test_pseudo_condition_number_is_its_definition(problem):
    found = theory.pseudo_condition_number(problem.H, problem.g)
    for k in range(4):
        H, g, u = problem.H[k], problem.g[k], problem.u[k]
        eigenvalues = np.linalg.eigvalsh(H - np.outer(g, g) / (u @ H @ u))
        assert abs(eigenvalues[0]) < 1e-12 * eigenvalues[-1]
        np.testing.assert_allclose(theory.normalized_curvatures(H, g), eigenvalues[1:], rtol=EXACT)
        assert found[k] == pytest.approx(eigenvalues[-1] / eigenvalues[1], rel=EXACT)
        assert 1 - EXACT <= found[k] <= np.linalg.cond(H) * (1 + EXACT)
    if problem.u.shape[-1] == 2:
        assert found.tolist() == [1, 1, 1, 1]


def test_pseudo_condition_number_of_an_eigenvector_leaves_that_eigenvalue_out():
    H = np.diag([1.0, 7.0, 30.0])
    assert [theory.pseudo_condition_number(H, e) for e in np.eye(3)] == pytest.approx([30 / 7, 30, 7], rel=EXACT)


def derivative(step, point):
    """Matrix of central differences of a map at its fixed point."""
    h = 1e-6
    return np.stack([(step(point + h * e) - step(point - h * e)) / (2 * h) for e in np.eye(len(point))], axis=1)


@pytest.mark.parametrize("d", [2, 3, 7, 20])
def test_rates_are_those_of_one_step_at_the_solution(d):
    """Eigenvalues of the map that one step is, where it stands still; for w, one belongs to its length."""
    problem = LeastSquares.random(d, 30, seed=d)
    length, rate, of_scale = 3.0, 0.02, 0.4
    point = np.append(length * problem.u / np.linalg.norm(problem.u), np.sqrt(problem.u @ problem.g))

    def normalized(parameters):
        by_w, by_scale = problem.normalized_gradient(parameters[:-1], parameters[-1])
        return parameters - np.append(rate * by_w, of_scale * by_scale)

    sizes = np.sort(np.abs(np.linalg.eigvals(derivative(normalized, point))))
    assert sizes[-1] == pytest.approx(1, abs=1e-7)
    expected = theory.normalized_descent_rate(problem.H, problem.g, rate, length, of_scale)
    assert sizes[-2] == pytest.approx(expected, abs=1e-7)
    plain = np.abs(np.linalg.eigvals(derivative(lambda v: v - rate * problem.gradient(v), problem.u)))
    assert plain.max() == pytest.approx(theory.descent_rate(problem.H, rate), abs=1e-7)


@pytest.mark.parametrize("normalized", [True, False])
def test_rates_of_paths(normalized):
    """What is left of faster directions late in a path speeds it up: by half a per cent in the mean."""
    ratios = []
    for d in range(2, 21):
        problems = LeastSquares.random(d, 20, seed=d, problems=20)
        start = problems.u + 0.1 * np.random.default_rng(d).standard_normal(problems.u.shape)
        path = problems.descend(normalized, 0.08, 240, scale_rate=1.0, start=start, every=80)
        expected = theory.descent_rate(problems.H, 0.08)
        if normalized:
            lengths = np.linalg.norm(path.w[-1], axis=-1)
            expected = theory.normalized_descent_rate(problems.H, problems.g, 0.08, lengths, scale_rate=1.0)
        slow = expected > 0.9  # the others end in rounding
        measured = np.log(path.residual[3, slow] / path.residual[2, slow]) / 80
        ratios.append(measured / np.log(expected[slow]))
    assert sum(map(len, ratios)) > 300
    agrees(np.concatenate(ratios), 1)


def test_best_steps():
    H = LeastSquares.random(5, 40, seed=0).H
    best = theory.best_descent_rate(40.0)
    assert best == pytest.approx(theory.descent_rate(H, 2 / 41), rel=EXACT)
    assert np.all(theory.descent_rate(H, np.linspace(1e-3, 0.1, 200)) >= best)
    assert theory.best_descent_rate(1.0) == 0


# --- bad input -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("call", "name"), [
    (lambda p: LeastSquares([[1.0, 2.0], [2.0, 1.0]], [1.0, 1.0]), "H"),
    (lambda p: LeastSquares(np.zeros((2, 2)), [1.0, 1.0]), "H"),
    (lambda p: LeastSquares([[1.0, 0.5], [0.0, 1.0]], [1.0, 1.0]), "H"),
    (lambda p: LeastSquares(np.eye(2), [1.0, 2.0, 3.0]), "u"),
    (lambda p: LeastSquares(np.eye(2), [1.0, np.nan]), "u"),
    (lambda p: LeastSquares.random(1, 10), "features"),
    (lambda p: LeastSquares.random(3, 0.5), "condition"),
    (lambda p: LeastSquares.random(3, 10, seed=-1), "seed"),
    (lambda p: LeastSquares.random(3, 10, problems=0), "problems"),
    (lambda p: p.descend(start=[0.0, 0.0, 0.0]), "start"),
    (lambda p: p.descend(start=[1.0, 0.0]), "start"),
    (lambda p: p.descend(start=1.0), "start"),
    (lambda p: p.descend(learning_rate=-1.0), "learning_rate"),
    (lambda p: p.descend(learning_rate=[1.0, 2.0]), "learning_rate"),
    (lambda p: p.descend(scale_rate=np.inf), "scale_rate"),
    (lambda p: p.descend(scale="one"), "scale"),
    (lambda p: p.descend(scale=[1.0, 2.0]), "scale"),
    (lambda p: p.descend(steps=0), "steps"),
    (lambda p: p.descend(every=0), "every"),
    (lambda p: p.residual("v"), "weights"),
    (lambda p: p.gradient([1.0]), "weights"),
    (lambda p: p.normalized_gradient([0.0, 0.0, 0.0], 1.0), "w"),
])  # fmt: skip
def test_bad_input(call, name):
    with pytest.raises(ArgumentError, match=f"^{name} = .*: expected .*; .*") as error:
        call(LeastSquares.random(3, 10, seed=0))
    assert "\n" not in str(error.value)
