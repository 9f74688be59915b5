"""Experiments on a GPU, in emulation: the same results, refusals before any work, and a preset for many chains."""

import dataclasses
import json
import math
from pathlib import Path

import pytest

from pyrank import ArgumentError, Interrupted, cli, experiments
from pyrank.engine import backends, simulation
from pyrank.experiments.chains import soft_rank_scaling as scaling
from pyrank.experiments.chains.scaling_law import Setting

ROOT = Path(__file__).resolve().parents[1]
WITHOUT_CHAINS = ["indicative-tree", "random-relu-rank"]
WITHOUT_CHAINS += [name for name, chapter in experiments.EXPERIMENTS.items() if chapter != "chains"]
GRID = [(width, gamma) for gamma in (0.5, math.inf) for width in (3, 4, 6)]
TINY = scaling.Settings(tuple(Setting(*point, chains=3, burn_in=5, layers=40) for point in GRID), seed=3)


@pytest.fixture
def tiny(monkeypatch):
    """The preset ``gpu`` of soft-rank-scaling, made tiny."""
    pytest.importorskip("matplotlib")
    monkeypatch.setitem(scaling.EXPERIMENT.presets, "gpu", TINY)


def reproduce(folder, *options):
    command = ["reproduce", "soft-rank-scaling", "--preset", "gpu", "--out", str(folder), *options]
    return cli.main(command), folder / "soft-rank-scaling.json"


@pytest.mark.usefixtures("tiny", "emulated")
def test_the_same_result_on_either_device(tmp_path):
    found = []
    for device in ("cpu", "cuda"):
        status, path = reproduce(tmp_path / device, "--device", device)
        assert status == 0
        found.append(json.loads(path.read_text()))
        assert {run["backend"] for run in found[-1]["runs"]} == {device}
    for here, there in zip(found[0]["rows"], found[1]["rows"], strict=True):
        assert here["rank"] == pytest.approx(there["rank"], rel=1e-5)
        assert here["r"] == pytest.approx(there["r"], rel=1e-5)


@pytest.mark.usefixtures("tiny", "emulated")
def test_an_interrupted_run_continues_from_its_checkpoints(tmp_path, monkeypatch):
    simulate, begun = simulation.simulate, []

    def stopped_at_the_third(chain, depth, **options):
        begun.append(options["device"])
        if len(begun) == 3:
            raise Interrupted("stopped", simulate(chain, depth // 2, **options))
        return simulate(chain, depth, **options)

    monkeypatch.setattr(simulation, "simulate", stopped_at_the_third)
    assert reproduce(tmp_path / "resumed", "--device", "cuda")[0] == 130
    assert begun == ["cuda"] * 3
    assert reproduce(tmp_path / "resumed", "--device", "cuda")[0] == 0
    assert reproduce(tmp_path / "whole", "--device", "cuda")[0] == 0
    files = [tmp_path / folder / "soft-rank-scaling.csv" for folder in ("resumed", "whole")]
    assert files[0].read_bytes() == files[1].read_bytes()


@pytest.mark.usefixtures("emulated")
def test_chains_without_a_kernel_are_refused_before_any_run(tmp_path, capsys, monkeypatch):
    pytest.importorskip("matplotlib")
    monkeypatch.setattr(simulation, "simulate", lambda *_, **__: pytest.fail("simulated"))
    assert cli.main(["reproduce", "whitening-vs-batchnorm", "--device", "cuda", "--out", str(tmp_path)]) == 2
    said = "pyrank: normalization = 'whiten': expected no whitening on a GPU; use device='cpu'\n"
    assert capsys.readouterr() == ("", said)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", WITHOUT_CHAINS)
def test_a_misspelt_device_is_refused_even_if_nothing_runs_there(name, tmp_path):
    pytest.importorskip("matplotlib")
    with pytest.raises(ArgumentError, match="'cuda:N'"):
        experiments.reproduce(name, out=tmp_path / "out", device="gpu")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", [name for name in experiments.EXPERIMENTS if name not in WITHOUT_CHAINS])
def test_the_device_reaches_the_chains_of_every_experiment(name, tmp_path, monkeypatch):
    class Chosen(Exception):  # noqa: N818, it is none
        pass

    def choose(chain, device):
        raise Chosen(device)

    monkeypatch.setattr(backends, "choose", choose)
    experiment = experiments.load(name)
    with pytest.raises(Chosen, match=r"^cuda:7$"):
        experiment.run(experiment.presets["quick"], tmp_path, device="cuda:7", progress=False)


# --- the preset ------------------------------------------------------------------------------------------------------


def pairs():
    """Each setting of the published size with that for a GPU."""
    return zip(scaling.EXPERIMENT.presets["paper"].grid, scaling.EXPERIMENT.presets["gpu"].grid, strict=True)


def test_gpu_records_the_states_of_the_published_size():
    for paper, gpu in pairs():
        same = {"chains": 0, "layers": 0, "burn_in": 0}
        assert dataclasses.replace(gpu, **same) == dataclasses.replace(paper, **same)
        assert gpu.chains * gpu.layers == paper.chains * paper.layers
        assert gpu.chains > paper.chains


def test_gpu_forgets_the_start_as_well_as_the_published_size():
    """For small gamma by the mean, over the recorded layers, of a rest that falls like 1 / layer."""
    for paper, gpu in pairs():
        if gpu.gamma >= 1:
            assert gpu.burn_in == paper.burn_in >= 20 * gpu.width
        else:
            assert gpu.burn_in >= 20 / gpu.gamma**2
            rest_of_paper, rest = (math.log1p(s.layers / s.burn_in) / s.layers for s in (paper, gpu))
            assert rest < 1.1 * rest_of_paper


def test_gpu_has_chains_long_enough_for_rhat():
    """A hundred autocorrelation times, as the published size has measured them."""
    measured = json.loads((ROOT / "docs/paper/soft-rank-scaling.json").read_text())["runs"]
    for run, (_, gpu) in zip(measured, pairs(), strict=True):
        for measure in ("soft_rank(0.5)", "participation_ratio"):
            estimate = run["estimates"][measure]
            samples = estimate["count"] * run["plan"]["chains"]
            assert gpu.layers >= 100 * samples / estimate["ess"]
