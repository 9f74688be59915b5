"""Weights beyond independent entries of fixed scale: named scales, varying widths, orthogonal and gram weights."""

import math

import numpy as np
import pytest
import torch

import pyrank
from pyrank import reference
from pyrank.engine import native
from pyrank.reference.weights import gram_factor, haar, weights
from pyrank.specs.normalization import NORMALIZATIONS
from pyrank.specs.weights import INITIALIZATIONS

from harness import advance, assert_same, condition, make_plan, start
from tolerances import FLOOR_ULPS, GRAM_ROUNDINGS, LOSS_FACTOR, REFLECTION_ROUNDINGS, SIGMAS

DTYPES = ("float32", "float64")
WIDTHS = ((8,), (17,), (33,), (65,), (130,), (8, 32), (33, 5, 17), (1, 3), (130, 9))


# --- scales ----------------------------------------------------------------------------------------------------------


def test_torch_scale_is_that_of_a_linear_layer():
    torch.manual_seed(0)
    entries = torch.nn.Linear(400, 200, bias=False).weight.detach()
    chain = pyrank.Chain((400, 200), weights="torch")
    ours = pyrank.draw_weights(chain, seed=0, layer=0)
    assert ours.shape == entries.shape
    limit = 1 / math.sqrt(400)
    assert ours.abs().max() <= limit
    for moment in (2, 4):
        expected = limit**moment / (moment + 1)
        error = SIGMAS * limit**moment * math.sqrt(1 / (2 * moment + 1) - 1 / (moment + 1) ** 2) / math.sqrt(80_000)
        assert (ours**moment).mean() == pytest.approx(expected, abs=error)
        assert (entries**moment).mean() == pytest.approx(expected, abs=error)


@pytest.mark.parametrize("name", ["he", "xavier"])
def test_named_scales_are_those_of_torch(name):
    torch.manual_seed(0)
    entries = torch.empty(300, 200)
    {"he": torch.nn.init.kaiming_normal_, "xavier": torch.nn.init.xavier_normal_}[name](entries)
    ours = pyrank.draw_weights(pyrank.Chain((200, 300), weights=name), seed=0, layer=0)
    spread = math.sqrt(2 / entries.numel())  # relative standard error of a variance
    assert ours.var().item() == pytest.approx(entries.var().item(), rel=SIGMAS * spread * math.sqrt(2))


def test_every_named_initialization_is_a_weights():
    for name, expected in INITIALIZATIONS.items():
        assert pyrank.Chain(4, weights=name).weights == expected
    assert pyrank.Weights("gaussian", scale="unit").standard_deviation(3, 5) == 1


@pytest.mark.parametrize("weights", ["broken", pyrank.Weights.between(0, 2 / math.sqrt(64))], ids=["name", "numbers"])
def test_broken_initialization_has_its_support(weights):
    d = 64
    W = pyrank.draw_weights(pyrank.Chain(d, weights=weights), seed=3, layer=0)
    assert W.min() >= 0
    assert W.max() <= 2 / math.sqrt(d) * (1 + np.finfo(np.float32).eps)
    assert W.var().item() == pytest.approx(1 / (3 * d), rel=SIGMAS * math.sqrt(0.8 / d**2))


def test_a_named_mean_follows_the_widths():
    chain = pyrank.Chain((4, 100), 3, weights="broken", normalization="none")
    kernels, exact = (pyrank.simulate(chain, 1, measures=[], backend=b).state for b in ("auto", "reference"))
    assert (kernels - exact).abs().max() <= FLOOR_ULPS * np.finfo(np.float32).eps * exact.abs().max()
    assert pyrank.draw_weights(chain, 0, 0).max() > 0.9 * 2 / math.sqrt(4)
    assert 0.19 < pyrank.draw_weights(chain, 0, 1).max() <= 0.2 * (1 + np.finfo(np.float32).eps)


# --- orthogonal weights ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("d", [1, 2, 3, 8, 40])
def test_orthogonal_matrices_are_orthogonal(d):
    Q = haar(torch.randn(5, d, d, dtype=torch.float64))
    error = (Q @ Q.mT - torch.eye(d, dtype=torch.float64)).abs().max().item()
    assert error <= REFLECTION_ROUNDINGS * d * np.finfo(np.float64).eps


@pytest.mark.parametrize("d", [1, 2, 3, 6])
def test_orthogonal_matrices_have_the_moments_of_the_haar_measure(d):
    """E Tr Q = 0, E (Tr Q)^2 = 1, E Q_ij^4 = 3 / (d (d + 2)), E Q_11^2 Q_22^2, and half of the determinants are -1.

    Collins & Sniady, Commun. Math. Phys. 264, 773, 2006, give the moments of fourth order.
    """
    n = 20_000
    Q = haar(torch.randn(n, d, d, dtype=torch.float64, generator=torch.Generator().manual_seed(1)))
    trace = torch.diagonal(Q, dim1=-2, dim2=-1).sum(dim=-1)
    samples = {"trace": (trace, 0.0), "trace^2": (trace**2, 1.0), "det": (torch.linalg.det(Q), 0.0)}
    for i in range(d):
        for j in range(d):
            samples[f"fourth {i} {j}"] = (Q[:, i, j] ** 4, 3 / (d * (d + 2)))
    if d > 1:
        mixed = (d + 1) / (d * (d - 1) * (d + 2))
        samples["mixed"] = (Q[:, 0, 0] ** 2 * Q[:, 1, 1] ** 2, mixed)
        samples["mixed, last"] = (Q[:, -1, -1] ** 2 * Q[:, 0, 0] ** 2, mixed)
    for name, (values, expected) in samples.items():
        error = values.std().item() / math.sqrt(n)
        assert abs(values.mean().item() - expected) <= SIGMAS * error + 1e-12, name


def test_a_gaussian_zero_leaves_a_direction(layout, isa):
    """At this place of the stream the word of the radius is so large that u is 1 in float32, and the weight 0."""
    layer = 38_471_471
    assert pyrank.draw_weights(pyrank.Chain(1), 0, layer) == 0
    plan = make_plan(pyrank.Chain(1, weights="orthogonal", normalization="none"), 1, 0, measures=())
    state, accumulator, counters = start(plan)
    before = state.clone()
    native.advance(plan, state, layer, 1, accumulator, counters, isa=isa, layout=layout)
    assert torch.ldexp(state, torch.tensor(counters[3])).item() == before.item()
    assert pyrank.draw_weights(plan.chain, 0, layer) == 1


def test_rectangular_orthogonal_weights_have_orthonormal_sides():
    for widths, layer in (((12, 5), 0), ((12, 5), 1)):
        W = pyrank.draw_weights(pyrank.Chain(widths, weights="orthogonal", dtype="float64"), seed=0, layer=layer)
        small = W.mT @ W if W.shape[0] > W.shape[1] else W @ W.mT
        np.testing.assert_allclose(small, 12 * np.eye(5), atol=12 * 12 * REFLECTION_ROUNDINGS * np.finfo(float).eps)


# --- the layer -------------------------------------------------------------------------------------------------------


def one_layer(chain, layout, isa="", layer=5):
    """One layer of the kernel and of the reference from the same states: before powers of two are taken off."""
    plan = make_plan(chain, 3, 11, measures=())
    state, accumulator, counters = start(plan)
    state = torch.zeros(3, chain.width, chain.batch, dtype=state.dtype)
    rows = chain.width_at(layer)
    generator = torch.Generator().manual_seed(rows)
    state[:, :rows] = torch.randn(3, rows, chain.batch, dtype=state.dtype, generator=generator)
    exact, exact_counters = state.double().clone(), np.zeros_like(counters)
    native.advance(plan, state, layer, 1, accumulator, counters, isa=isa, layout=layout)
    reference.advance(plan, exact, layer, 1, accumulator, exact_counters)
    return (torch.ldexp(values.double(), torch.tensor(count[3])[:, None, None])
            for values, count in ((state, counters), (exact, exact_counters)))  # fmt: skip


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("normalization", NORMALIZATIONS)
@pytest.mark.parametrize("law", ["gaussian", "orthogonal", "gram"])
@pytest.mark.parametrize("widths", WIDTHS, ids=str)
def test_layers_agree_with_the_reference(widths, law, normalization, dtype, layout):
    for activation in ("relu", "sigmoid"):
        batch = min(4, *widths) if law == "gram" else 11
        if batch == 1 and normalization != "none":
            continue  # recentring one sample leaves zeros
        chain = pyrank.Chain(
            widths, batch, weights=law, normalization=normalization, activation=activation, dtype=dtype
        )
        compiled, exact = one_layer(chain, layout)
        roundings = LOSS_FACTOR * math.sqrt(max(widths))
        if law == "orthogonal":
            roundings = REFLECTION_ROUNDINGS * max(widths)
        if law == "gram":
            roundings = GRAM_ROUNDINGS * max(widths)
        if normalization == "whiten":  # turns a rounding of W F into as much of the smallest direction
            plain = pyrank.Chain(widths, batch, weights=law, normalization="none", activation=activation, dtype=dtype)
            _, Z = one_layer(plain, layout)
            roundings *= condition(Z)
        largest = math.sqrt(batch if normalization != "none" else max(widths) * batch) * max(
            1, exact.abs().max().item()
        )
        assert (compiled - exact).abs().max().item() <= roundings * np.finfo(dtype).eps * largest


@pytest.mark.parametrize("law", ["orthogonal", "gram"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_instruction_sets_and_the_skip_connection(law, dtype, isa, layout):
    for width in (5, 32, 130):
        chain = pyrank.Chain(
            width, 5, gamma=0.5, weights=pyrank.Weights(law, scale="he"), activation="tanh", dtype=dtype
        )
        compiled, exact = one_layer(chain, layout, isa)
        tolerance = REFLECTION_ROUNDINGS * width * np.finfo(dtype).eps * exact.abs().max().item()
        assert (compiled - exact).abs().max().item() <= tolerance


@pytest.mark.parametrize("law", ["gaussian", "rademacher", "orthogonal", "gram"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_layouts_agree_to_the_last_bit(law, dtype, isa):
    for widths, batch in (((8,), 8), ((33, 5, 17), 5), ((9, 40), 3)):
        chain = pyrank.Chain(widths, batch, weights=law, activation="relu", normalization="batch", dtype=dtype)
        plan = make_plan(chain, chains=2)
        results = [advance(plan, chunks, isa=isa, layout=layout) for layout, chunks in
                   (("lanes", [7]), ("rows", [7]), ("rows", [1, 2, 4]))]  # fmt: skip
        assert_same(results[0], results[1])
        assert_same(results[0], results[2])


def test_a_cycle_of_widths_is_written_in_one_way():
    assert pyrank.Chain((8, 4, 8, 4)) == pyrank.Chain((8, 4))
    assert pyrank.Chain((8, 8)) == pyrank.Chain(8)
    assert pyrank.Chain((8, 4, 8)).widths == (8, 4, 8)


@pytest.mark.parametrize("observe", ["state", "activation"])
def test_varying_widths_are_measured_as_they_are(observe):
    """Both backends see the width of the layer, also where F(0) is not 0."""
    chain = pyrank.Chain((9, 4, 6), 5, activation="sigmoid", normalization="batch", dtype="float64")
    options = {"chains": 3, "measures": ["trace", "soft_rank(0.4)", "numerical_rank", "participation_ratio"],
               "observe": observe, "progress": False}  # fmt: skip
    for depth in (1, 2, 3, 7):
        compiled, exact = (pyrank.simulate(chain, depth, backend=name, **options) for name in ("cpu", "reference"))
        assert compiled.state.shape == (3, chain.width_at(depth), 5)
        np.testing.assert_allclose(compiled.state, exact.state, atol=1e-9)
        for name in compiled:
            np.testing.assert_allclose(compiled[name].trace, exact[name].trace, rtol=1e-9, err_msg=name)
    if observe == "state":
        np.testing.assert_allclose(compiled["trace"].trace[0], [4, 6, 9, 4, 6, 9, 4], rtol=1e-12)


# --- sampling by the Gram matrix -------------------------------------------------------------------------------------


def test_gram_factor_reproduces_the_gram_matrix():
    for d, n in ((5, 5), (40, 7), (3, 9)):
        F = torch.randn(4, d, n, dtype=torch.float64, generator=torch.Generator().manual_seed(d))
        R = gram_factor(F)
        assert torch.equal(R, R.triu())
        error = (R.mT @ R - F.mT @ F).abs().max()
        assert error <= GRAM_ROUNDINGS * max(d, n) * np.finfo(float).eps * F.square().sum(dim=-2).max()


def test_gram_sampling_has_the_law_of_gaussian_weights():
    """One layer from one state: means, variances and the whole distribution of r, of a margin and of an entry."""
    d, n, chains = 24, 6, 4_000
    H = torch.randn(d, n, generator=torch.Generator().manual_seed(0))
    for normalization, activation in (("rescale", "linear"), ("batch", "relu")):
        samples = {}
        for law, seed in (("gaussian", 1), ("gram", 2)):
            chain = pyrank.Chain(d, n, weights=law, activation=activation, normalization=normalization)
            run = pyrank.simulate(chain, 3, chains=chains, seed=seed, initial=H, measures=["participation_ratio"],
                                  burn_in=2, progress=False)  # fmt: skip
            state = run.state.double()
            samples[law] = [
                run["participation_ratio"].trace[:, 0],
                state[:, 3, 2].numpy(),
                (state[:, 0] * state[:, 1])[:, 0].numpy(),
            ]
        for a, b in zip(samples["gaussian"], samples["gram"], strict=True):
            assert_same_law(a, b)


def assert_same_law(a, b):
    """Means and variances at five standard errors, and the two-sample Kolmogorov-Smirnov test at the same level."""
    from scipy import special, stats

    n = len(a)
    assert abs(a.mean() - b.mean()) <= SIGMAS * math.sqrt((a.var() + b.var()) / n)
    spread = [np.var((x - x.mean()) ** 2) for x in (a, b)]
    assert abs(a.var() - b.var()) <= SIGMAS * math.sqrt(sum(spread) / n)
    assert stats.ks_2samp(a, b).pvalue >= 2 * special.ndtr(-SIGMAS)


def test_the_comparison_of_laws_can_fail():
    generator = np.random.default_rng(0)
    with pytest.raises(AssertionError):
        assert_same_law(generator.normal(size=4_000), generator.normal(scale=1.2, size=4_000))


def test_gram_sampling_keeps_small_directions():
    """Near-collinear samples, 1e-5 apart: the small direction grows as it does with gaussian weights."""
    options = {"chains": 64, "initial": "collinear(1e-5)", "measures": ["participation_ratio"], "progress": False}
    ends = [pyrank.simulate(pyrank.Chain(32, 8, weights=law), 300, burn_in=250, **options)["participation_ratio"]
            for law in ("gaussian", "gram")]  # fmt: skip
    assert ends[1].mean > 1.5
    assert abs(ends[0].mean - ends[1].mean) <= SIGMAS * math.hypot(ends[0].stderr, ends[1].stderr)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("backend", ["cpu", "reference"])
def test_samples_that_have_met_stay_together(backend, dtype):
    """Else rounding would part them, and recentred ReLU chains, where samples do meet, would have another law."""
    H = torch.randn(20, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    H[:, 3:] = H[:, [1, 0]]
    for normalization, activation in (("rescale", "linear"), ("batch", "relu")):
        chain = pyrank.Chain(20, 5, weights="gram", normalization=normalization, activation=activation, dtype=dtype)
        state = pyrank.simulate(chain, 60, chains=8, initial=H, backend=backend, measures=[], progress=False).state
        assert torch.equal(state[:, :, 3:], state[:, :, [1, 0]])
        assert not torch.equal(state[:, :, 2], state[:, :, 0])


def test_a_state_that_is_not_finite_is_seen():
    F = torch.ones(4, 3, dtype=torch.float64)
    for sample in range(3):
        spoilt = F.clone()
        spoilt[1, sample] = math.nan
        assert gram_factor(spoilt)[:, sample].isnan().any()


# --- refusals --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"width": 8, "weights": "heh"}, "weights"),
        ({"width": 8, "weights": "gram", "batch": 9}, "batch"),
        ({"width": (8, 4), "gamma": 1.0}, "width"),
        ({"width": ()}, "width"),
        ({"width": (8, 0)}, "width"),
        ({"width": "8"}, "width"),
    ],
)
def test_bad_chains_are_refused(arguments, named):
    with pytest.raises(pyrank.ArgumentError, match=f"^{named}"):
        pyrank.Chain(**arguments)


def test_bad_weights_are_refused():
    with pytest.raises(pyrank.ArgumentError, match="mean"):
        pyrank.Weights("orthogonal", mean=1.0)
    with pytest.raises(pyrank.ArgumentError, match="scale"):
        pyrank.Weights(scale="large")
    with pytest.raises(pyrank.ArgumentError, match="low"):
        pyrank.Weights.between(1, 0)
    with pytest.raises(pyrank.ArgumentError, match="gram"):
        pyrank.draw_weights(pyrank.Chain(8, 2, weights="gram"), 0, 0)


def test_draws_of_the_reference_and_the_kernel_have_one_shape():
    chain = pyrank.Chain((6, 10), weights="he")
    for layer, shape in ((0, (10, 6)), (1, (6, 10))):
        assert weights(chain, 0, layer, torch.arange(2)).shape == (2, *shape)
        np.testing.assert_allclose(
            native.draw_weights(chain, 0, layer), pyrank.draw_weights(chain, 0, layer), atol=1e-6
        )
