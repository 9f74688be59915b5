"""Builders, weights and chains as networks."""

import math

import numpy as np
import pytest
import torch
from test_bad_input import assert_one_line
from torch import nn

import pyrank
from pyrank import data, networks
from pyrank.networks import Normalize
from pyrank.specs.chain import ACTIVATIONS
from pyrank.specs.normalization import NORMALIZATIONS
from pyrank.specs.weights import INITIALIZATIONS

from harness import gaussian
from tolerances import EXACT, SIGMAS

BATCH = pyrank.Normalization(recentre=True, eps=1e-5)
NETS = {
    "mlp": lambda **k: networks.mlp(3, 16, 3 * 12 * 12, 5, **k),
    "vgg19": lambda **k: networks.vgg19(3, 5, width_factor=1 / 16, **k),
    "resnet50": lambda **k: networks.resnet50(3, 5, width_factor=1 / 16, **k),
}


def parameters(model):
    return sum(p.numel() for p in model.parameters())


def kinds(model):
    return [type(layer).__name__ for layer in model]


# --- shapes ----------------------------------------------------------------------------------------------------------


def test_mlp_is_flat():
    hidden = ["Linear", "Normalize", "ReLU"]
    assert kinds(networks.mlp(2, 8, 5, 3)) == [*hidden, *hidden, "Linear"]
    assert kinds(networks.mlp(1, 8, 5, 3, "none", "tanh")) == ["Linear", "Tanh", "Linear"]
    assert kinds(networks.mlp(1, 8, 5, 3, activation="linear")) == ["Linear", "Normalize", "Linear"]
    assert kinds(networks.mlp(0, 8, 5, 3)) == ["Linear"]
    model = networks.mlp(2, 8, 5, 3)
    assert [layer.bias is not None for layer in model if isinstance(layer, nn.Linear)] == [False, False, True]
    assert model(torch.ones(4, 5)).shape == (4, 3)
    assert dict(model.named_modules())["2"] is model[2]


def test_parameters_are_counted_as_in_torchvision():
    """Its resnet50 has 25,557,032; the features of its vgg19 20,024,384, those of vgg19_bn 11,008 more."""
    with torch.device("meta"):
        assert parameters(networks.resnet50(3, 1000, stem="imagenet")) == 25_557_032
        biases = 5_504
        assert parameters(networks.vgg19(normalization="none")[:-1]) == 20_024_384
        assert parameters(networks.vgg19()[:-1]) == 20_024_384 + 11_008 - biases


def test_networks_without_weights_of_their_own_draw_none(monkeypatch):
    """On the device "meta" above nothing is drawn; here every entry is."""
    model = networks.vgg19(1, 3, width_factor=1 / 32, weights="rademacher", seed=0)
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            assert set(layer.weight.unique().tolist()) == {-1.0, 1.0}


@pytest.mark.parametrize("size", [28, 32])
@pytest.mark.parametrize("name", ["vgg19", "resnet50"])
def test_images(name, size):
    channels = 1 if size == 28 else 3
    kwargs = {"width_factor": 1 / 16, "seed": 0}
    for normalization in ("batch", "none", "layer") if size == 28 else ("batch",):
        model = getattr(networks, name)(channels, 7, normalization=normalization, **kwargs)
        seen = []
        last = next(m for m in reversed(list(model)) if isinstance(m, nn.AdaptiveAvgPool2d))
        last.register_forward_hook(lambda module, args, output, seen=seen: seen.append(args[0].shape[2:]))
        y = model(torch.rand(2, channels, size, size, generator=torch.Generator().manual_seed(0)))
        assert y.shape == (2, 7)
        assert y.isfinite().all()
        assert seen == [(1, 1) if name == "vgg19" else (4, 4)]


def test_resnet_has_fifty_layers_and_its_shortcuts():
    with torch.device("meta"):
        model = networks.resnet50()
    convolutions = [m for m in model.modules() if isinstance(m, nn.Conv2d)]
    assert len(convolutions) - 4 + 1 == 50  # but for the projections, and with the head
    block = networks.resnet50(width_factor=1 / 16, normalization="none", seed=0)[3]
    assert len(block.skip) == 0
    x = gaussian(2, 16, 4, 4, dtype=torch.float32)
    assert torch.equal(block(x), torch.relu(x + block.branch(x)))


@pytest.mark.parametrize("build", NETS.values(), ids=NETS)
def test_any_law_of_the_layer(build):
    for activation in ACTIVATIONS:
        for name in ("none", "rescale", "recentre"):
            modules = list(build(activation=activation, normalization=name).modules())
            assert any(isinstance(m, Normalize) for m in modules) == (name != "none")


@pytest.mark.parametrize("build", NETS.values(), ids=NETS)
def test_seeds(build):
    """A seed fixes the weights and leaves torch's generator alone; without one, that generator does."""
    torch.manual_seed(5)
    before = torch.get_rng_state()
    one, same, other = build(seed=1), build(seed=1), build(seed=2)
    assert torch.equal(torch.get_rng_state(), before)
    free = build()
    torch.manual_seed(5)
    again = build()
    for a, b in ((one, same), (free, again)):
        assert all(torch.equal(p, q) for p, q in zip(a.parameters(), b.parameters(), strict=True))
    assert not torch.equal(next(one.parameters()), next(other.parameters()))


# --- weights ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name in INITIALIZATIONS if name != "gram"])
@pytest.mark.parametrize("layer", [nn.Linear(300, 200), nn.Conv2d(40, 60, 3), nn.Conv1d(50, 80, 5)], ids=repr)
def test_weights_have_their_mean_and_variance(name, layer):
    networks.initialize(layer, name, seed=0)
    law, count = INITIALIZATIONS[name], layer.weight.numel()
    fans = nn.init._calculate_fan_in_and_fan_out(layer.weight)
    deviation = law.standard_deviation(*fans)
    assert layer.weight.mean().item() == pytest.approx(law.average(*fans), abs=SIGMAS * deviation / count**0.5)
    assert layer.weight.var().item() == pytest.approx(deviation**2, rel=SIGMAS * (2 / count) ** 0.5)
    if name == "broken":
        assert layer.weight.min() >= 0
        assert layer.weight.max() <= 2 / math.sqrt(fans[0]) * (1 + np.finfo(np.float32).eps)
    assert (layer.bias.abs().max() > 0.5 / math.sqrt(fans[0])) if name == "torch" else (layer.bias == 0).all()
    assert layer.bias.abs().max() <= 1 / math.sqrt(fans[0])


def test_torch_weights_have_the_law_of_torch():
    """Of weights and biases: by their largest entries and their standard deviations."""
    ours, theirs = nn.Linear(100, 20_000), nn.Linear(100, 20_000)
    networks.initialize(ours, "torch", seed=0)
    for name in ("weight", "bias"):
        a, b = getattr(ours, name), getattr(theirs, name)
        assert a.abs().max().item() == pytest.approx(b.abs().max().item(), rel=1e-3)
        assert a.std().item() == pytest.approx(b.std().item(), rel=2 * SIGMAS * (0.2 / a.numel()) ** 0.5)


def test_orthogonal_weights_are_orthogonal():
    layer = networks.initialize(nn.Conv2d(4, 20, 3), pyrank.Weights("orthogonal", scale=1 / 6.0), seed=0)
    W = layer.weight.detach().flatten(1).double()
    assert torch.allclose(W @ W.T, torch.eye(20, dtype=torch.float64), atol=1e-6)  # sqrt(36) Q / 6


def test_initialize_changes_weights_alone():
    model = networks.mlp(1, 4, 3, 2)
    model(gaussian(5, 3, dtype=torch.float32))
    nn.init.constant_(model[1].weight, 7.0)
    mean = model[1].running_mean.clone()
    assert networks.initialize(model, pyrank.Weights.between(0.0, 0.5), seed=0) is model
    assert (model[1].weight == 7.0).all()
    assert torch.equal(model[1].running_mean, mean)
    with torch.inference_mode(), torch.device("meta"):
        networks.initialize(model, "he", seed=0)
    assert model[0].weight.device.type == "cpu"
    assert model(gaussian(5, 3, dtype=torch.float32)).requires_grad


@pytest.mark.filterwarnings("ignore:.*weight_norm")  # that the older one is deprecated
def test_initialize_leaves_what_it_does_not_draw():
    """Computed weights, in the newer and the older way of torch, and transposed convolutions; biases, too."""
    computed = [norm(nn.Linear(3, 2)) for norm in (nn.utils.parametrizations.weight_norm, nn.utils.weight_norm)]
    for layer in (*computed, nn.ConvTranspose2d(2, 3, 3)):
        before = {name: value.clone() for name, value in layer.state_dict().items()}
        networks.initialize(layer, "he", seed=0)
        assert all(torch.equal(before[name], value) for name, value in layer.state_dict().items())


# --- chains ----------------------------------------------------------------------------------------------------------

DEPTH = 5
MEASURES = ["participation_ratio", "soft_rank(0.5)"]


def held_against_simulate(chain, index=0):
    """Layer by layer: states to 1e-9 of the largest entry, and what is recorded of them."""
    H = gaussian(index + 1, chain.width_at(0), chain.batch, seed=3)
    run = pyrank.simulate(chain, DEPTH, chains=index + 1, seed=7, initial=H, measures=MEASURES, backend="reference")
    model = networks.from_chain(chain, DEPTH, seed=7, index=index).double()
    h = H[index].T
    for layer in range(DEPTH):
        h = model[layer](h)
        state = pyrank.simulate(
            chain, layer + 1, chains=index + 1, seed=7, initial=H, measures=[], backend="reference"
        ).state[index]
        assert (h.T - state).abs().max() <= EXACT * state.abs().max()
        r = pyrank.participation_ratio(h.T).item()
        assert r == pytest.approx(run["participation_ratio"].trace[index, layer], rel=EXACT)
        assert pyrank.soft_rank(h.T, 0.5).item() == run["soft_rank(0.5)"].trace[index, layer]
    assert torch.equal(model(H[index].T), h)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("normalization", NORMALIZATIONS)
def test_network_of_a_chain(activation, normalization):
    held_against_simulate(pyrank.Chain(6, 5, activation=activation, normalization=normalization, dtype="float64"))


@pytest.mark.parametrize("chain", [
    pyrank.Chain(6, 9, gamma=0.3, activation="relu"),
    pyrank.Chain(6, 9, gamma=0.3, activation="relu", normalization="none", dtype="float64"),
    pyrank.Chain((6, 9), 4, activation="tanh", normalization=pyrank.Normalization(recentre=True, order=3, eps=0.1)),
    pyrank.Chain(6, 7, normalization=pyrank.Normalization(order=math.inf, alpha=0.2, beta=1.5), weights="broken"),
    pyrank.Chain(6, 7, normalization=pyrank.Normalization(recentre=True, order=1, over="features"), weights="he"),
    pyrank.Chain(6, 7, normalization="whiten", weights="orthogonal", gamma=2.0, activation="relu"),
    pyrank.Chain(6, 7, weights="rademacher", activation="gelu", normalization="batch"),
], ids=repr)  # fmt: skip
def test_network_of_a_chain_with(chain):
    held_against_simulate(chain, index=2)


@pytest.mark.parametrize("name", ["batch", "none", "whiten"])
@pytest.mark.parametrize("gamma", [0.4, math.inf])
def test_a_monitor_sees_what_is_recorded_of_the_chain(name, gamma):
    """The strongest test of both: kernels on the module's outputs against kernels along the chain."""
    chain = pyrank.Chain(6, 5, gamma=gamma, activation="relu", normalization=name, dtype="float64")
    H = gaussian(6, 5, seed=3)
    run = pyrank.simulate(chain, DEPTH, chains=1, seed=7, initial=H, measures=MEASURES)
    model = networks.from_chain(chain, DEPTH, seed=7)
    with networks.RankMonitor(model, MEASURES, layers=networks.ChainLayer) as monitor:
        model(H.T)
    seen = monitor.scalars()
    for layer in range(DEPTH):
        r, rank = (run[measure].trace[0, layer] for measure in MEASURES)
        assert seen[f"{layer}/participation_ratio"] == pytest.approx(r, rel=EXACT)
        assert seen[f"{layer}/soft_rank(0.5)"] == rank


def test_network_of_a_chain_can_be_trained():
    chain = pyrank.Chain(6, gamma=0.5, activation="relu", normalization="batch")
    torch.manual_seed(0)
    before = torch.get_rng_state()
    model = networks.from_chain(chain, 3)
    assert torch.equal(torch.get_rng_state(), before)
    r = pyrank.participation_ratio(model(gaussian(8, 6, dtype=torch.float32)).T)
    r.backward()
    assert [p.grad.isfinite().all().item() for p in model.parameters()] == [True] * 3
    assert model[0].linear.weight.dtype == torch.float32
    assert torch.equal(model[2].linear.weight, pyrank.draw_weights(chain, 0, 2))


# --- known answers ---------------------------------------------------------------------------------------------------

WEIGHTS_2ABS = "broken"
COLUMNS = {
    "BN": (BATCH, "torch"),
    "BN without recentring": (pyrank.Normalization(eps=1e-5), "torch"),
    "none": ("none", "torch"),
    "none, He": ("none", "he"),
    "broken": (BATCH, WEIGHTS_2ABS),
}
KNOWN = {
    2: [(7.54, 0.04), (3.00, 0.06), (1.54, 0.03), (1.70, 0.02), (1.0001, 0.0)],
    4: [(7.99, 0.03), (3.25, 0.05), (1.052, 0.002), (1.44, 0.02), (1.0000, 0.0)],
    16: [(7.69, 0.07), (3.29, 0.04), (1.0000, 0.0), (1.109, 0.010), (1.0000, 0.0)],
}
KNOWN_SEEDS = 24
LAST_DIGIT = 1e-4


@pytest.fixture(scope="module")
def images():
    return data.load("fashion-mnist", samples=128).x.flatten(1).double()


def ranks_at_initialisation(images, depth, column, seeds):
    normalization, weights = COLUMNS[column]
    ranks = []
    for seed in seeds:
        model = networks.mlp(depth, 128, 784, 10, normalization, weights=weights, seed=seed).double()
        with torch.no_grad():
            ranks.append(pyrank.participation_ratio(model[:-1](images).T).item())
    return np.array(ranks)


def test_rank_at_initialisation_of_few_seeds(images):
    check_ranks(images, range(2), [2, 4, 16])


@pytest.mark.validate
@pytest.mark.parametrize("depth", KNOWN)
def test_rank_at_initialisation(images, depth):
    check_ranks(images, range(KNOWN_SEEDS), [depth])


def check_ranks(images, seeds, depths):
    """Means at five standard errors; the known error is that of 24 seeds, so a single one spreads sqrt(24) as much."""
    for depth in depths:
        for column, (mean, error) in zip(COLUMNS, KNOWN[depth], strict=True):
            ranks = ranks_at_initialisation(images, depth, column, seeds)
            allowed = SIGMAS * error * math.sqrt(1.0 + KNOWN_SEEDS / len(seeds)) + LAST_DIGIT
            assert ranks.mean() == pytest.approx(mean, abs=allowed), (depth, column)


# --- bad input -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("make", "word"), [
    (lambda: networks.mlp(-1, 4, 3, 2), "depth"), (lambda: networks.mlp(1, 0, 3, 2), "width"),
    (lambda: networks.mlp(1, 4, 3, 2, "group"), "normalization"),
    (lambda: networks.mlp(1, 4, 3, 2, "whiten"), "whiten"),
    (lambda: networks.mlp(1, 4, 3, 2, activation="selu"), "activation"),
    (lambda: networks.mlp(1, 4, 3, 2, weights="cauchy"), "weights"),
    (lambda: networks.mlp(1, 4, 3, 2, seed=-1), "seed"),
    (lambda: networks.vgg19(0), "inputs"), (lambda: networks.vgg19(width_factor=0), "width_factor"),
    (lambda: networks.resnet50(stem="large"), "stem"), (lambda: networks.resnet50(outputs=0), "outputs"),
    (lambda: networks.initialize(nn.Linear(2, 2), "gram"), "gram"),
    (lambda: networks.from_chain("chain", 3), "chain"), (lambda: networks.from_chain(pyrank.Chain(4), 0), "depth"),
    (lambda: networks.from_chain(pyrank.Chain(4, weights="gram"), 3), "gram"),
])  # fmt: skip
def test_bad_input(make, word):
    with pytest.raises(pyrank.ArgumentError) as error:
        make()
    assert_one_line(error, word)
