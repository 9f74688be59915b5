"""A rank monitor sees what every layer of any network returns, measures it right, and leaves the network alone."""

import copy
import io
import pickle
import subprocess
import sys
import warnings

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

import pyrank
from pyrank.networks import RankMonitor
from pyrank.networks.tally import Tally
from pyrank.support.errors import ArgumentError

from tolerances import EXACT, gram_tolerance

MEASURES = ["participation_ratio", "soft_rank(0.5)", "trace", "frobenius_norm"]


def seeded(build):
    torch.manual_seed(0)
    return build()


def mlp(norm=False):
    layers = []
    for into in (12, 24, 24):
        layers += [nn.Linear(into, 24), *[nn.BatchNorm1d(24)] * norm, nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(24, 5))


class Lenet(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(1, 6, 3), nn.ReLU(inplace=True), nn.MaxPool2d(2), nn.Conv2d(6, 8, 3))
        self.head = nn.Linear(8 * 4, 10)

    def forward(self, x):
        return self.head(self.features(x).flatten(1))


class Block(nn.Module):
    """A residual block whose two activations are one module, in place."""

    def __init__(self):
        super().__init__()
        self.first, self.second = (nn.Conv2d(4, 4, 3, padding=1) for _ in range(2))
        self.norm, self.act = nn.BatchNorm2d(4), nn.ReLU(inplace=True)

    def forward(self, x):
        return self.act(x + self.norm(self.second(self.act(self.first(x)))))


class Encoder(nn.Module):
    def __init__(self):
        super().__init__()
        layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)

    def forward(self, x):
        return self.encoder(x)


class Answers(nn.Module):
    """Returns whatever it is told to."""

    def __init__(self, answer):
        super().__init__()
        self.leaf = nn.Identity()
        self.answer = answer

    def forward(self, x):
        return self.leaf(self.answer(x))


def by_hand(H, measure):
    """Measure a matrix, features x samples, by the functions on tensors, in double."""
    name, _, argument = measure.rstrip(")").partition("(")
    function = getattr(pyrank.reference, name)
    return float(function(H.double(), float(argument)) if argument else function(H.double()))


def recorded(model, x):
    """Outputs of the leaves by (name, call), as they were when they were returned."""
    seen, handles = {}, []
    for name, module in model.named_modules():
        if not list(module.children()):
            calls = iter(range(9))
            handles.append(module.register_forward_hook(
                lambda m, args, out, name=name, calls=calls: seen.__setitem__((name, next(calls)), copy_of(out))
            ))  # fmt: skip
    model(x)
    for handle in handles:
        handle.remove()
    return seen


def copy_of(output):
    return (output[0] if isinstance(output, tuple) else output).detach().clone()


def matrix_of(output, matrix="channels"):
    if output.ndim == 2 or matrix == "samples":
        return output.flatten(1).T
    return output.flatten(0, 1).T if output.ndim == 3 else output.movedim(1, 0).flatten(1)


NETWORKS = {
    "mlp": (mlp, (16, 12)),
    "mlp with norm": (lambda: mlp(norm=True), (40, 12)),
    "lenet": (Lenet, (5, 1, 10, 10)),
    "block": (Block, (3, 4, 6, 6)),
    "lstm": (lambda: nn.LSTM(3, 7, batch_first=True), (4, 5, 3)),
    "batch of one": (mlp, (1, 12)),
}


@pytest.mark.parametrize("matrix", ["channels", "samples"])
@pytest.mark.parametrize("name", NETWORKS)
def test_measures_what_the_layers_return(name, matrix):
    build, shape = NETWORKS[name]
    model, x = seeded(build), torch.randn(shape)
    outputs = recorded(copy.deepcopy(model), x)
    with RankMonitor(model, MEASURES, matrix=matrix) as monitor:
        model(x)
    table = monitor.table()
    assert {(row.layer, row.call) for row in table.itertuples()} == set(outputs)
    for row in table.itertuples():
        H = matrix_of(outputs[row.layer, row.call], matrix)
        assert (row.features, row.samples) == H.shape
        assert row.mean == pytest.approx(by_hand(H, row.measure), rel=gram_tolerance("float32", max(H.shape)))
        assert row.min == row.max == row.mean
        assert row.batches == 1


@pytest.mark.parametrize("pooled", [False, True])
def test_centred_is_the_covariance(pooled):
    x = seeded(lambda: 3.0 + torch.randn(50, 6))
    model = nn.Identity()
    with RankMonitor(model, ["trace", "participation_ratio"], centre=True, pooled=pooled) as monitor:
        model(x)
    C = np.cov(x.numpy().T.astype(float), bias=True)
    exact = [np.trace(C), np.trace(C) ** 2 / (C**2).sum()]
    np.testing.assert_allclose(monitor.table()["mean"], exact, rtol=gram_tolerance("float32", 50))


@pytest.mark.parametrize("centre", [False, True])
def test_pooled_is_one_matrix_over_all_batches(centre):
    """Batches with one direction each have rank one; together they have two."""
    batches = [torch.tensor([[2.0, 0.0], [2.5, 0.0]]), torch.tensor([[0.0, 1.0], [0.0, 2.0], [0.0, 7.0]])]
    model = nn.Identity()
    with RankMonitor(model, ["participation_ratio", "explained_rank(0.9)"], centre=centre, pooled=True) as monitor:
        for x in batches:
            model(x)
    H = torch.cat(batches).double().T
    H = H - H.mean(1, keepdim=True) if centre else H
    table = monitor.table()
    assert table["mean"][0] == pytest.approx(by_hand(H, "participation_ratio"), rel=EXACT)
    assert table["mean"][0] > 1.05
    assert list(table["batches"]) == [2, 2]
    with RankMonitor(model, "participation_ratio") as apart:
        for x in batches:
            model(x)
    assert apart.table()["mean"][0] == pytest.approx(1.0)


def test_explained_rank_counts_directions():
    x = torch.diag(torch.tensor([3.0, 2.0, 1.0, 0.0]))  # shares 9/14, 13/14, 1
    shares = {0.6: 1, 9 / 14: 1, 0.65: 2, 0.93: 3, 1.0: 3}
    model = nn.Identity()
    with RankMonitor(model, [f"explained_rank({share!r})" for share in shares]) as monitor:
        model(x)
    assert list(monitor.table()["mean"]) == list(shares.values())


def test_other_measures_of_pyrank_and_functions():
    def largest(H):
        return H.abs().amax((-2, -1))

    x = seeded(lambda: torch.randn(9, 5))
    model = nn.Identity()
    with RankMonitor(model, ["stable_rank", "effective_rank(2)", "numerical_rank", largest, "trace"]) as monitor:
        model(x)
    exact = [pyrank.stable_rank(x.T), pyrank.effective_rank(x.T, power=2), 5, x.abs().max(), pyrank.trace(x.T)]
    np.testing.assert_allclose(monitor.table()["mean"], list(map(float, exact)), rtol=gram_tolerance("float32", 9))


def test_statistics_over_batches():
    model = nn.Identity()
    values = [1.0, 2.0, 4.0, 9.0]
    with RankMonitor(model, "trace") as monitor:
        for value in values:
            model(torch.full((1, 1), value).sqrt())
    (row,) = monitor.table().itertuples()
    assert row.mean == pytest.approx(np.mean(values))
    assert row.stderr == pytest.approx(np.std(values, ddof=1) / 2)
    assert (row.min, row.max, row.batches) == (pytest.approx(1), pytest.approx(9), 4)
    assert monitor.scalars() == {"Identity/trace": pytest.approx(9)}


def test_every_measures_the_first_and_skips():
    model = nn.Sequential(nn.Identity(), nn.Identity())
    with RankMonitor(model, "trace", every=3) as monitor:
        for value in range(1, 8):
            model(torch.full((1, 1), float(value)))
    assert list(monitor.table()["batches"]) == [3, 3]
    assert list(monitor.table()["mean"]) == pytest.approx([(1 + 16 + 49) / 3] * 2)


def test_layers_are_not_asked_in_between(monkeypatch):
    """What a batch that is not measured costs is a call of each hook, which hands nothing on."""
    seen = []
    monkeypatch.setattr(RankMonitor, "_see", lambda self, name, *given: seen.append((self.batches, name)))
    model = nn.Sequential(nn.Identity(), nn.Identity())
    with RankMonitor(model, every=3) as monitor:
        for _ in range(5):
            model(torch.ones(1, 1))
    with monitor:  # again, in the middle of a pause
        for _ in range(2):
            model(torch.ones(1, 1))
    assert seen == [(batch, name) for batch in (1, 4, 7) for name in ("0", "1")]


def test_every_counts_in_compiled_networks():
    """Also where the code is made in a batch that is not measured."""
    torch._dynamo.reset()
    model = seeded(mlp)
    with RankMonitor(model, "trace", every=3) as monitor, torch.no_grad():
        for _ in range(2):
            model(torch.randn(6, 12))
        compiled = torch.compile(model, backend="eager")
        for _ in range(5):
            compiled(torch.randn(6, 12))
    assert set(monitor.table()["batches"]) == {3}
    torch._dynamo.reset()


@pytest.mark.parametrize("values", [[3.0, 1.0, 2.5, 7.0], [float("nan"), 2.0, 1.0], [2.0, float("nan"), 5.0], [4.0]])
def test_a_tally_that_is_pushed_is_one_that_is_merged(values):
    pushed, merged = Tally(), Tally()
    for value in values:
        pushed.push(value)
        merged.merge(Tally(1, value, 0.0, value, value, value))
    assert repr(pushed) == repr(merged)  # to the last bit, and NaN like NaN


def test_a_pass_that_enters_and_leaves_inference_mode():
    model = nn.Sequential(nn.Identity(), nn.Identity())

    def forward(x):
        with torch.inference_mode():
            model[0](x)
        return model[1](x)

    model.forward = forward
    with RankMonitor(model, "trace") as monitor:
        model(torch.full((3, 2), 2.0))
    assert list(monitor.table()["mean"]) == [pytest.approx(8.0)] * 2


def test_layers_called_without_the_network_count_their_own_batches():
    model = nn.Sequential(nn.Identity(), nn.Identity())
    with RankMonitor(model, "trace", every=2) as monitor:
        for value in range(1, 5):
            model[1](torch.full((1, 1), float(value)))
    table = monitor._rows()[1]
    assert table.batches == 2
    assert table.tallies[0].mean == pytest.approx((1 + 9) / 2)


@pytest.mark.parametrize(("layers", "names"), [
    ("features.1", ["features.1"]), ("features.*", [f"features.{i}" for i in range(4)]), (nn.Linear, ["head"]),
    ([nn.Conv2d, "head"], ["features.0", "features.3", "head"]), ("features", ["features"]),
    (lambda module: isinstance(module, nn.MaxPool2d), ["features.2"]),
    (lambda name, module: name.endswith("0"), ["features.0"]),
])  # fmt: skip
def test_layers_are_chosen(layers, names):
    model = Lenet()
    with RankMonitor(model, layers=layers) as monitor:
        model(torch.randn(2, 1, 10, 10))
    assert list(dict.fromkeys(monitor.table()["layer"])) == names


def test_a_layer_with_two_names_is_chosen_by_either():
    model = nn.Sequential()
    model.a = nn.Linear(3, 3)
    model.b = model.a
    for layers in ("a", "b", "[ab]"):
        assert list(RankMonitor(model, layers=layers)._cells) == ["a"]


@pytest.mark.parametrize(("arguments", "message"), [
    ({"layers": "head.7"}, r"layers = 'head\.7': expected .* features\.0"),
    ({"layers": [3]}, "layers = 3: expected"),
    ({"measures": "singular_values(3)"}, "a measure of one number"),
    ({"measures": []}, "at least one measure"),
    ({"measures": "explained_rank"}, r"explained_rank\(0\.99\)"),
    ({"measures": "explained_rank(1.5)"}, r"share = '1\.5'"),
    ({"every": 0}, "every = 0"),
    ({"matrix": "rows"}, "matrix = 'rows'"),
    ({"where": "middle"}, "where = 'middle'"),
    ({"pooled": True, "measures": "stable_rank"}, "with pooled=True"),
])  # fmt: skip
def test_bad_options_are_told(arguments, message):
    with pytest.raises(ArgumentError, match=message):
        RankMonitor(Lenet(), **arguments)


def test_no_module_is_told():
    with pytest.raises(ArgumentError, match=r"model = 'function': expected a torch\.nn\.Module"):
        RankMonitor(lambda x: x)


def test_inputs_are_seen_before_an_in_place_layer_changes_them():
    model = nn.Sequential(nn.Identity(), nn.ReLU(inplace=True))
    x = seeded(lambda: torch.randn(8, 4))
    with RankMonitor(model, "trace", layers="1", where="input") as monitor:
        model(x.clone())
    assert monitor.table()["mean"][0] == pytest.approx(float(pyrank.trace(x.T)), rel=1e-6)


def test_transformer_and_its_projection_that_is_never_called():
    model = Encoder()
    with RankMonitor(model) as monitor:
        model(torch.randn(3, 5, 8))
    table = monitor.table()  # without a warning
    assert {f"encoder.layers.{i}.self_attn" for i in (0, 1)} < set(table["layer"])
    assert not table["layer"].str.contains("out_proj").any()
    assert (table["batches"] == 1).all()

    with RankMonitor(model, layers=["*.out_proj", "*.linear1"]) as monitor:
        model(torch.randn(3, 5, 8))
    with pytest.warns(UserWarning, match=r"never called: encoder\.layers\.0\.self_attn\.out_proj.*MultiheadAttention"):
        table = monitor.table()
    uncalled = table[table["batches"] == 0]
    assert set(uncalled["layer"]) == {f"encoder.layers.{i}.self_attn.out_proj" for i in (0, 1)}
    assert "never called" in repr(monitor)
    assert not [key for key in monitor.scalars() if "out_proj" in key]


@pytest.mark.parametrize(("answer", "output", "width"), [
    (lambda x: {"mask": x > 0, "state": x, "more": x[:, :2]}, None, 6),
    (lambda x: {"mask": x > 0, "state": x, "more": x[:, :2]}, "more", 2),
    (lambda x: (None, [x[:, :3]], x), None, 3),
    (lambda x: (x, x[:, :4]), 1, 4),
    (lambda x: {0: x, 1: x[:, :4]}, 1, 4),
    (lambda x: (x[:, :4], x), "count", 4),
])  # fmt: skip
@pytest.mark.filterwarnings("ignore:output = 'count'")
def test_first_floating_tensor_or_the_one_named(answer, output, width):
    model = Answers(answer)
    with RankMonitor(model, output=output) as monitor:
        model(torch.randn(5, 6))
    assert set(monitor.table()["features"]) == {width}


def test_an_output_that_no_layer_has_is_told():
    model = Answers(lambda x: {"state": x})
    with RankMonitor(model, output="stat") as monitor:
        model(torch.randn(5, 6))
    with pytest.warns(UserWarning, match=r"output = 'stat': no layer"):
        monitor.table()


@pytest.mark.parametrize(("output", "width"), [(None, 6), ("mask", 3), (1, 2)])
def test_inputs_are_named_by_keyword_or_counted(output, width):
    class Two(nn.Module):
        def forward(self, x, y, mask):
            return x

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.two = Two()

        def forward(self, x):
            return self.two(x, x[:, :2], mask=x[:, :3])

    model = Net()
    with RankMonitor(model, where="input", output=output) as monitor:
        model(torch.randn(5, 6))
    assert set(monitor.table()["features"]) == {width}


@pytest.mark.parametrize(("answer", "reason"), [
    (lambda x: x.to(torch.complex64), "complex64 output"), (lambda x: x.long(), "int64 output"),
    (lambda x: "text", "no tensor"), (lambda x: x.sum(), "single number"), (lambda x: x.to_sparse(), "dense"),
    (lambda x: x.to("meta"), "without numbers"),
])  # fmt: skip
def test_outputs_without_a_matrix_are_named(answer, reason):
    model = Answers(answer)
    with RankMonitor(model) as monitor:
        model(torch.randn(5, 6))
    assert reason in monitor.skipped["leaf"]
    assert reason in repr(monitor)
    assert monitor.table().empty
    chosen = RankMonitor(model, layers="leaf")
    with chosen:
        model(torch.randn(5, 6))
    with pytest.warns(UserWarning, match="leaf: .*" + reason):
        assert list(chosen.table()["batches"]) == [0, 0]


def test_empty_batches_are_not_measured():
    model = mlp()
    with RankMonitor(model) as monitor:
        model(torch.empty(0, 12))
    assert set(monitor.table()["batches"]) == {0}
    assert "empty batches" in repr(monitor)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_nan_is_reported_by_layer(bad):
    model = nn.Sequential(nn.Identity(), nn.Flatten())
    model[1].forward = lambda x: torch.where(x > 100, torch.full_like(x, bad), x)
    x = seeded(lambda: torch.randn(6, 3))
    with RankMonitor(model, ["participation_ratio", "soft_rank(0.5)", "stable_rank"]) as monitor:
        model(x)
        model(x.index_fill(0, torch.tensor([2]), 1e3))
    means = monitor.table().set_index(["layer", "measure"])["mean"]
    assert np.isfinite(means["0"]).all()
    assert np.isnan(means["1"]).all()
    assert "no finite number in 1 of 2 batches" in repr(monitor)
    assert np.isfinite(monitor.table()["max"]).all()


def test_the_network_is_left_alone():
    """Outputs, gradients, buffers, flags, the random state and the hooks are those of a network that nobody watches."""
    build = lambda: nn.Sequential(mlp(norm=True), nn.Dropout(0.5))  # noqa: E731
    plain, watched = seeded(build), seeded(build)
    x = torch.randn(16, 12)
    ends = []
    for model in (plain, watched):
        torch.manual_seed(1)
        monitor = RankMonitor(model, [*MEASURES, "stable_rank"])
        if model is watched:
            monitor.start()
        model(x).square().sum().backward()
        model.eval()
        model(x)
        ends.append(torch.rand(1))
        monitor.stop()
    assert ends[0] == ends[1]
    assert not watched.training
    for a, b in zip(plain.parameters(), watched.parameters(), strict=True):
        assert torch.equal(a.grad, b.grad)
    for a, b in zip(plain.buffers(), watched.buffers(), strict=True):
        assert torch.equal(a, b)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in watched.modules())
    assert watched.state_dict().keys() == plain.state_dict().keys()


def test_an_exception_in_forward_removes_the_hooks():
    model = mlp()
    with pytest.raises(RuntimeError, match="shapes"), RankMonitor(model) as monitor:
        model(torch.randn(4, 13))
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    with monitor:  # it can be started again
        model(torch.randn(4, 12))
    assert set(monitor.table()["batches"]) == {1}


def test_copies_of_a_watched_network_are_not_watched():
    model = mlp()
    file = io.BytesIO()
    with RankMonitor(model) as monitor:
        twin = copy.deepcopy(model)
        torch.save(model, file)
        twin(torch.randn(4, 12))
        file.seek(0)
        torch.load(file, weights_only=False)(torch.randn(4, 12))
        twin.load_state_dict(model.state_dict())
    assert not monitor.scalars()


@pytest.mark.parametrize("context", [
    torch.no_grad, torch.inference_mode, lambda: torch.autocast("cpu", torch.bfloat16), lambda: torch.device("meta"),
], ids=["no_grad", "inference", "autocast", "device"])  # fmt: skip
def test_ambient_settings_change_nothing(context):
    model = seeded(nn.Identity)
    x = torch.randn(40, 7) * torch.logspace(-3, 0, 7)
    measures = [*MEASURES, "explained_rank(0.99)", "stable_rank"]
    values = []
    for around in (torch.enable_grad, context):
        for centre in (False, True):
            with around(), RankMonitor(model, measures, centre=centre) as monitor:
                model(x)
            values.append(list(monitor.scalars().values()))
    assert values[:2] == values[2:]


def test_half_precision_is_measured_in_single():
    model = nn.Identity()
    x = torch.randn(30, 6).bfloat16()
    with RankMonitor(model, MEASURES) as monitor:
        model(x)
    for row in monitor.table().itertuples():
        assert row.mean == pytest.approx(by_hand(x.float().T, row.measure), rel=gram_tolerance("float32", 30))


def test_gradient_checkpointing_calls_twice():
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    model.forward = lambda x: checkpoint(nn.Sequential.forward, model, x, use_reentrant=False)
    with RankMonitor(model, "trace", layers="0") as monitor:  # the last one stops half-way when it is repeated
        for _ in range(2):
            model(torch.randn(3, 4)).sum().backward()
    table = monitor.table()
    assert list(table["call"]) == [0, 1]
    assert set(table["batches"]) == {2}
    assert table["mean"][0] == table["mean"][1]


@pytest.mark.parametrize("order", ["compiled first", "watched first"])
def test_compiled_networks_are_watched(order):
    torch._dynamo.reset()
    model, x = seeded(mlp), torch.randn(6, 12)
    with RankMonitor(model, MEASURES) as plain, torch.no_grad():
        model(x)
    compiled = torch.compile(model, backend="eager") if order == "compiled first" else model
    with RankMonitor(compiled, MEASURES) as monitor, torch.no_grad():
        compiled = torch.compile(model, backend="eager") if order == "watched first" else compiled
        compiled(x)
        compiled(x)
    assert monitor.scalars() == plain.scalars()
    assert set(monitor.table()["batches"]) == {2}
    torch._dynamo.reset()


def test_hooks_that_compiled_code_skips_are_told():
    torch._dynamo.reset()
    model = torch.compile(mlp(), backend="eager")
    with torch.no_grad():
        model(torch.randn(6, 12))
        with RankMonitor(model) as monitor:
            model(torch.randn(6, 12))
    with pytest.warns(UserWarning, match="never called: 0, 1, .*compile"):
        table = monitor.table()
    assert set(table["batches"]) == {0}
    torch._dynamo.reset()


@pytest.mark.parametrize("pooled", [False, True])
def test_merged_monitors_are_one_that_saw_everything(pooled):
    model = seeded(mlp)
    batches = [torch.randn(8, 12) for _ in range(5)]
    apart = [RankMonitor(model, "participation_ratio", pooled=pooled) for _ in range(2)]
    whole = RankMonitor(model, "participation_ratio", pooled=pooled)
    for monitor, share in ((apart[0], batches[:2]), (apart[1], batches[2:]), (whole, batches)):
        with monitor:
            for x in share:
                model(x)
    apart[0].merge(pickle.loads(pickle.dumps(apart[1])))  # noqa: S301, as torch.distributed sends objects
    for one, other in zip(apart[0].table().itertuples(), whole.table().itertuples(), strict=True):
        assert one[1:5] == other[1:5]
        np.testing.assert_allclose(one[5:], other[5:], rtol=EXACT)


def test_only_alike_monitors_are_merged():
    with pytest.raises(ArgumentError, match=r"other = .*measures.*trace"):
        RankMonitor(mlp()).merge(RankMonitor(mlp(), "trace"))


WATCH = """
import sys, torch
from torch import nn
from pyrank.networks import RankMonitor

rank, store = int(sys.argv[1]), sys.argv[2]
torch.distributed.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
model = nn.Linear(3, 2)
nn.init.ones_(model.weight)
nn.init.zeros_(model.bias)
with RankMonitor(nn.parallel.DistributedDataParallel(model), "trace") as monitor:
    monitor.model(torch.full((4, 3), 1.0 + rank))
monitors = [None, None]
torch.distributed.all_gather_object(monitors, monitor)
if rank == 0:
    monitor.merge(monitors[1])
    print(*monitor.table()[["layer", "mean", "min", "max", "batches"]].iloc[0])
torch.distributed.destroy_process_group()
"""


def test_processes_of_a_distributed_run_are_merged(tmp_path):
    """Each adds its trace, 2 (3 v)^2 for inputs of v, of a batch of its own."""
    command = [sys.executable, "-c", WATCH]
    both = [subprocess.Popen([*command, str(rank), str(tmp_path / "store")], stdout=subprocess.PIPE, text=True)
            for rank in range(2)]  # fmt: skip
    try:
        outputs = [process.communicate(timeout=120)[0] for process in both]
    finally:
        for process in both:
            process.kill()
    layer, *numbers = outputs[0].split()
    assert (layer, outputs[1]) == ("module", "")
    np.testing.assert_allclose(list(map(float, numbers)), [45, 18, 72, 2], rtol=gram_tolerance("float32", 3))


def test_shows_itself():
    model = mlp()
    with RankMonitor(model) as monitor:
        model(torch.randn(6, 12))
    text, html = repr(monitor), monitor._repr_html_()
    assert "batches: 1" in text
    assert "24 x 6" in text
    assert "<table" in html
    assert "ReLU" in html
    figure = monitor.plot("participation_ratio")
    assert [axes.get_ylabel() for axes in figure.axes] == ["participation_ratio"]
    assert len(monitor.plot().axes) == 2
    assert figure.axes[0].lines[0].get_ydata().tolist() == list(monitor.table()["mean"][::2])
    with pytest.raises(ArgumentError, match=r"measures = .*trace"):
        monitor.plot("trace")
    with pytest.raises(ArgumentError, match="layers that were called"):
        RankMonitor(model).plot()


def test_starting_twice_is_starting_once():
    model = mlp()
    monitor = RankMonitor(model).start().start()
    model(torch.randn(6, 12))
    monitor.stop()
    monitor.stop()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert set(monitor.table()["batches"]) == {1}
    with pytest.raises(ArgumentError, match="this is a copy"):
        copy.copy(monitor).start()
