"""The benchmarks: the gate can go red, the arithmetic is right, noise is not news, and a small report is complete."""

import dataclasses
import json

import compare
import contenders
import gate
import numpy as np
import pytest
import report
import tables
from cases import CORE, SELECTIONS, Case
from roofline import Roofline
from timing import Band, best_peer, calibrate, interleave, ratio

SMALL = Case(8, 8)


def build(case, name):
    contender = contenders.build(case, name)
    if isinstance(contender, contenders.Missing):
        pytest.skip(f"{contender.name}: {contender.reason}")
    return contender


def test_core_is_every_width_with_and_without_measures():
    assert {(c.width, c.batch, c.measures) for c in CORE} == {
        (d, d, m) for d in (8, 16, 32, 64, 128, 256) for m in ("rank", "none")
    }
    names = [str(case) for case in SELECTIONS["all"]]
    assert len(set(names)) == len(names)


OTHER = Case(12, 5, "r", "relu", dtype="float64")
GREEN = [(SMALL, name) for name in contenders.names(SMALL)]
GREEN += [(OTHER, name) for name in contenders.names(OTHER) if "jax" not in name]  # each takes a second to compile


@pytest.mark.parametrize(("case", "name"), GREEN, ids=str)
def test_gate_is_green(case, name):
    gate.check(case, build(case, name))


def wrong_state(contender):
    def layer(H, W):
        H, values = contender.layer(H, W)
        return H * np.float32(1.0 + 1e-4), values

    return dataclasses.replace(contender, layer=layer)


def wrong_count(contender):
    def layer(H, W):
        H, values = contender.layer(H, W)
        return H, values + np.array([0, 1])

    return dataclasses.replace(contender, layer=layer)


def nan_state(contender):
    return dataclasses.replace(contender, layer=lambda H, W: (H * np.nan, contender.layer(H, W)[1]))


def nan_measure(contender):
    return dataclasses.replace(contender, layer=lambda H, W: (contender.layer(H, W)[0], np.full((len(H), 2), np.nan)))


def same_weights_at_every_layer(contender):
    """Forget to draw in the loop: a single layer is right, the law is not."""
    _, W = gate.problem(SMALL, contender.chains)

    def run(layers):
        H, total = np.broadcast_to(np.eye(8, dtype=np.float32), W.shape).copy(), 0.0
        for _ in range(layers):
            H, values = contender.layer(H, W.numpy())
            total = total + values
        return H, total / layers

    return dataclasses.replace(contender, run=run)


@pytest.mark.parametrize("spoil", [wrong_state, wrong_count, nan_state, nan_measure, same_weights_at_every_layer])
def test_gate_goes_red(spoil):
    contender = build(SMALL, "numpy batched")
    gate.check(SMALL, contender)
    with pytest.raises(gate.GateError, match="8x8-linear-rank-16-float32, numpy batched"):
        gate.check(SMALL, spoil(contender))


def test_red_gate_stops_the_report(monkeypatch, tmp_path):
    honest = contenders.build
    monkeypatch.setattr(contenders, "names", lambda case, compiled: ("pyrank", "numpy"))
    monkeypatch.setattr(contenders, "build", lambda case, name: wrong_state(honest(case, name)))
    monkeypatch.setattr(report.one_core, "hold", lambda: "not held")
    with pytest.raises(SystemExit, match="gate is red"):
        report.main(["--select", "8x8-linear-none", "--seconds", "0.0005", "--rounds", "2", "--out", str(tmp_path)])
    assert not list(tmp_path.iterdir())


def test_band_contains_the_median_of_noise_as_often_as_it_says():
    generator = np.random.default_rng(0)
    bands = [Band.of(values) for values in generator.lognormal(size=(2000, 11))]
    covered = np.mean([band.low <= 1.0 <= band.high for band in bands])
    assert 0.95 <= covered < 1.0
    assert Band.of([3.0, 1.0, 2.0]) == Band(2.0, 1.0, 3.0, 3)


def test_ratio_is_by_paired_rounds_to_the_best_peer():
    times = {"pyrank": [1.0, 2.0, 4.0], "slow": [9.0, 9.0, 9.0], "fast": [3.0, 6.0, 12.0]}
    assert best_peer(times) == "fast"
    assert ratio(times, "fast") == Band(3.0, 3.0, 3.0, 3)
    assert Band(1.2, 1.1, 1.3, 6).excludes(1.0)
    assert not Band(1.2, 0.9, 1.3, 6).excludes(1.0)
    assert not Band(1.2, 1.1, 1.3, 5).excludes(1.0)
    assert best_peer({"pyrank": [1.0]}) is None


def test_rounds_are_interleaved_and_begin_with_another_contender_each_time():
    calls = []
    who = [contenders.Contender(name, 1, None, lambda _, name=name: calls.append(name)) for name in "abc"]
    times = interleave(who, rounds=3, seconds=0.0)
    assert "".join(calls[-9:]) == "abcbcacab"
    assert {name: len(rounds) for name, rounds in times.items()} == {"a": 3, "b": 3, "c": 3}


def test_limit_is_the_slower_of_drawing_and_computing():
    machine = Roofline(1e9, "", 1e11, "")
    step = Case(128, 128, "none")
    assert machine.seconds(step) == pytest.approx(2 * 128**3 / 1e11)
    assert machine.binds(step) == "flops"
    assert machine.seconds(Case(8, 8)) == pytest.approx(64e-9)
    assert machine.binds(Case(8, 8)) == "weights"
    assert Case(8, 4).flops == pytest.approx(2 * 64 * 4 + 4 * 5 * 8 + 4**3 / 3)


def synthetic(generator, pyrank=1.0, peer=5.0, rounds=11, cases=24):
    def noisy(median):
        return (median * generator.lognormal(sigma=0.03, size=rounds)).tolist()

    results = [{"name": f"case {k}", "times": {"pyrank": noisy(pyrank), "numpy": noisy(peer)}} for k in range(cases)]
    return {"results": results}


def test_null_comparison_lights_nothing():
    generator = np.random.default_rng(1)
    for _ in range(50):
        changes = compare.compare(synthetic(generator), synthetic(generator))
        assert not any(change.resolved for change in changes)
    slower_machine = synthetic(generator, pyrank=1.3, peer=5.0 * 1.35)
    assert sum(change.resolved for change in compare.compare(synthetic(generator), slower_machine)) <= 2


@pytest.mark.parametrize("factor", [0.8, 1.25])
def test_a_real_change_is_marked(factor):
    generator = np.random.default_rng(2)
    changes = compare.compare(synthetic(generator), synthetic(generator, pyrank=factor))
    assert all(change.resolved for change in changes)
    assert compare.markdown(changes).count("slower" if factor > 1 else "faster") == len(changes)


def test_calibrate_reaches_the_wanted_time(monkeypatch):
    clock = iter(np.arange(0.0, 1e6))
    monkeypatch.setattr("timing.time.perf_counter", lambda: next(clock))
    assert calibrate(lambda layers: None, seconds=3.0) == 3
    assert calibrate(lambda layers: None, seconds=3.0, least=8) == 24


def test_small_report_end_to_end(monkeypatch, tmp_path, capsys):
    pytest.importorskip("matplotlib", reason="the figure needs pyrank[plot]")
    names = ("pyrank", "numpy", "numpy batched", "torch", "torch batched", "jax")
    real = contenders.build
    absent = {"jax": contenders.Missing("jax", "No module named 'jax'")}
    monkeypatch.setattr(contenders, "names", lambda case, compiled: names)
    monkeypatch.setattr(contenders, "build", lambda case, name: absent.get(name) or real(case, name))
    monkeypatch.setattr(report.one_core, "hold", lambda: "not held")
    report.main(["--select", "8x8-linear-rank", "--seconds", "0.0005", "--rounds", "3", "--out", str(tmp_path)])
    written = json.loads((tmp_path / "benchmarks.json").read_text())
    (result,) = written["results"]
    assert set(result["times"]) == set(names) - {"jax"}
    assert all(len(rounds) == 3 and min(rounds) > 0 for rounds in result["times"].values())
    assert result["limit_seconds"] > 0
    text = (tmp_path / "benchmarks.md").read_text()
    assert text == tables.markdown(written)
    assert "- jax: No module named 'jax'" in text
    assert "| missing |" in text
    assert (tmp_path / "benchmarks.svg").read_text().lstrip().startswith("<?xml")
    same = str(tmp_path / "benchmarks.json")
    assert compare.main([same, same]) == 0
    assert "0 of 1 cases changed" in capsys.readouterr().out
