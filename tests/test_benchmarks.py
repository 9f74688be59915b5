"""The benchmarks: gates can go red, the arithmetic is right, noise is not news, and a small report is complete."""

import dataclasses
import importlib.util
import json
import re
import sys
from collections import Counter
from pathlib import Path

import compare
import contenders
import gate
import goals
import numpy as np
import pytest
import report
import roofline
import stages
import tables
import threads
from cases import CORE, SELECTIONS, Case, square
from roofline import Roofline
from timing import Band, best_peer, calibrate, interleave, ratio

from pyrank.engine import native

SMALL = Case(8, 8)
SMALL_NAME = "8x8-linear-rank-16-float32"


def build(case, name):
    contender = contenders.build(case, name)
    if isinstance(contender, contenders.Missing):
        pytest.skip(f"{contender.name}: {contender.reason}")
    return contender


def test_core_is_every_width_with_and_without_measures():
    assert {(c.width, c.batch, c.measures) for c in CORE} == {
        (d, d, m) for d in (8, 16, 32, 64, 128, 256, 512) for m in ("rank", "none")
    }


def test_all_cases_cover_what_is_promised_and_none_twice():
    everything = SELECTIONS["all"]
    assert {c.width for c in everything} == {2**k for k in range(3, 11)}
    assert {c.batch / c.width for c in everything} == {0.25, 1, 4}
    assert {c.measures for c in everything} == {"none", "r", "rank"}
    assert {c.activation for c in everything} == {"linear", "relu", "tanh"}
    assert {c.dtype for c in everything} == {"float32", "float64"}
    assert {(c.width, c.measures) for c in everything if c.chains == 1} >= {(d, "rank") for d in (8, 16, 32, 64)}
    names = [str(case) for case in SELECTIONS["all"]]
    assert len(set(names)) == len(names)


OTHER = Case(12, 5, "r", "relu", dtype="float64")
GREEN = [(SMALL, name) for name in contenders.names(SMALL)]
GREEN += [(Case(8, 2), "pyrank")]  # two samples, one of which can make a row nearly zero
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
    with pytest.raises(gate.GateError, match=f"{SMALL_NAME}, numpy batched"):
        gate.check(SMALL, spoil(contender))


def test_red_gate_stops_the_report(monkeypatch, tmp_path):
    honest = contenders.build
    monkeypatch.setattr(contenders, "names", lambda case, compiled: ("pyrank", "numpy"))
    monkeypatch.setattr(contenders, "build", lambda case, name: wrong_state(honest(case, name)))
    monkeypatch.setattr(report.one_core, "hold", lambda: "not held")
    with pytest.raises(SystemExit, match="gate is red"):
        report.main(["--select", SMALL_NAME, "--seconds", "0.0005", "--rounds", "2", "--out", str(tmp_path)])
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
    assert machine.seconds_in_turn(step) == pytest.approx(2 * 128**3 / 1e11 + 128**2 / 1e9)
    assert machine.binds(step) == "flops"
    assert machine.seconds(Case(8, 8)) == pytest.approx(64e-9)
    assert machine.binds(Case(8, 8)) == "weights"
    assert Case(8, 4).flops == pytest.approx(2 * 64 * 4 + 4 * 5 * 8 + 4**3 / 3)


def test_limit_is_the_best_of_all_ways_and_says_which(monkeypatch):
    monkeypatch.setattr(roofline, "rate", lambda run, work, seconds: work)
    limit = roofline.measure("float32", 0.0)
    assert (limit.weights_from, limit.weights_per_second) == ("chains with N = 1, d = 512", 16 * 512**2)
    assert (limit.flops_from, limit.flops_per_second) == ("rademacher chains, d = 512", 16 * 2 * 512**3)


def goal_of(case, pyrank, peer, limit=1.0, rounds=7):
    times = {"pyrank": [pyrank] * rounds, "numpy": [peer] * rounds, "torch": [2 * peer] * rounds}
    result = {"name": str(case), "case": case.to_dict(), "times": times, "limit_seconds": limit}
    return [[goal.verdict for goal in found([result])] for found in (goals.ratios, goals.shares)]


def test_goals_are_met_missed_or_open():
    assert goal_of(square(64), pyrank=1.0, peer=12.0) == [["met"], ["met"]]
    assert goal_of(square(64), pyrank=1.0, peer=11.9, limit=0.6) == [["missed"], ["missed"]]
    assert goal_of(square(64), pyrank=1.0, peer=12.0, rounds=5) == [["open"], ["open"]]
    assert goal_of(square(8, "none"), pyrank=1.0, peer=10.0) == [["met"], []]
    one = dataclasses.replace(square(64), chains=1)
    assert goal_of(one, pyrank=1.0, peer=8.0) == [["met"], []]
    for other in ({"batch": 16}, {"activation": "relu"}, {"dtype": "float64"}):
        assert goal_of(dataclasses.replace(square(64), **other), pyrank=1.0, peer=1.0) == [[], []]
    assert goals.Goal("", 2.0, Band(2.5, 1.9, 3.0, 11)).verdict == "open"


def two_runs(generator, factor=1.0, machine=0.0, between=0.0, within=0.01, bursts=0.0, rounds=11, cases=14):
    """Reports before and after pyrank got slower by a factor; the noises are standard deviations of logarithms.

    ``machine`` is common to a report, ``between`` is drawn anew for each contender, case and report, ``within`` for
    each round; ``bursts`` is the share of rounds in which everybody takes up to half as long again.
    """

    def run(slower):
        clock = generator.lognormal(sigma=machine)
        results = []
        for k in range(cases):
            burst = np.where(generator.random(rounds) < bursts, generator.uniform(1, 1.5, rounds), 1)
            times = {
                who: clock * burst * typical * generator.lognormal(sigma=between)
                * generator.lognormal(sigma=within, size=rounds)
                for who, typical in {"pyrank": slower, "numpy": 20, "torch": 9, "jax": 12}.items()
            }  # fmt: skip
            results.append({"name": f"case {k}", "times": {who: t.tolist() for who, t in times.items()}})
        return {"results": results}

    return run(1.0), run(factor)


QUIET = {"machine": 0.01, "between": 0.005, "bursts": 0.05}
NOISY = {"machine": 0.1, "between": 0.015, "within": 0.02, "bursts": 0.1}


@pytest.mark.parametrize("noise", [QUIET, NOISY], ids=["quiet", "noisy"])
def test_a_null_run_lights_nothing(noise):
    """One table in a hundred may hold a false mark; of 100 tables more than 6 would be a case of one in a thousand."""
    generator = np.random.default_rng(1)
    tables_lit = sum(
        any(change.resolved for change in compare.compare(*two_runs(generator, **noise))) for _ in range(100)
    )
    assert tables_lit <= (0 if noise is QUIET else 5)


@pytest.mark.parametrize("factor", [0.9, 1.1])
def test_a_real_change_is_marked(factor):
    changes = compare.compare(*two_runs(np.random.default_rng(2), factor, **QUIET))
    assert all(change.resolved for change in changes)
    assert compare.markdown(changes).count("slower" if factor > 1 else "faster") == len(changes)


def test_a_change_is_not_marked_where_it_could_be_the_machines():
    generator = np.random.default_rng(3)
    before, after = two_runs(generator, 1.2)
    for result in after["results"]:
        for who in ("numpy", "torch", "jax"):
            result["times"][who] = [1.2 * seconds for seconds in result["times"][who]]
    assert not any(change.resolved for change in compare.compare(before, after))
    only_the_peers = two_runs(generator)[0], after
    for result in only_the_peers[1]["results"]:
        result["times"]["pyrank"] = [seconds / 1.2 for seconds in result["times"]["pyrank"]]
    assert not any(change.resolved for change in compare.compare(*only_the_peers))


def test_without_peers_nothing_tells_the_code_from_the_machine():
    runs = two_runs(np.random.default_rng(5), 2.0)
    for run in runs:
        for result in run["results"]:
            result["times"] = {"pyrank": result["times"]["pyrank"]}
    changes = compare.compare(*runs)
    assert len(changes) == 14
    assert not any(change.resolved for change in changes)


def test_too_few_rounds_are_told(tmp_path, capsys):
    paths = []
    for name, run in zip(("before", "after"), two_runs(np.random.default_rng(4), 2.0, rounds=5), strict=True):
        paths.append(str(tmp_path / name))
        (tmp_path / name).write_text(json.dumps({"machine": {}, **run}))
    compare.main(paths)
    told = capsys.readouterr().out
    assert "0 of 14 cases changed" in told
    assert "too few rounds" in told


def test_calibrate_reaches_the_wanted_time(monkeypatch):
    clock = iter(np.arange(0.0, 1e6))
    monkeypatch.setattr("timing.time.perf_counter", lambda: next(clock))
    assert calibrate(lambda layers: None, seconds=3.0) == 3
    assert calibrate(lambda layers: None, seconds=3.0, least=8) == 24


def test_small_report_end_to_end(monkeypatch, tmp_path, capsys):
    names = ("pyrank", "numpy", "numpy batched", "torch", "torch batched", "jax")
    real = contenders.build
    absent = {"jax": contenders.Missing("jax", "No module named 'jax'")}
    monkeypatch.setattr(contenders, "names", lambda case, compiled: names)
    monkeypatch.setattr(contenders, "build", lambda case, name: absent.get(name) or real(case, name))
    monkeypatch.setattr(report.one_core, "hold", lambda: "not held")
    report.main(["--select", SMALL_NAME, "--seconds", "0.0005", "--rounds", "3", "--out", str(tmp_path)])
    written = json.loads((tmp_path / "benchmarks.json").read_text())
    (result,) = written["results"]
    assert set(result["times"]) == set(names) - {"jax"}
    assert all(len(rounds) == 3 and min(rounds) > 0 for rounds in result["times"].values())
    assert result["limit_seconds"] > 0
    text = (tmp_path / "benchmarks.md").read_text()
    assert text == tables.markdown(written)
    assert "- jax: No module named 'jax'" in text
    assert "| missing |" in text
    assert "0 of 1 met" in text
    assert text.count("| open |") == 1
    if importlib.util.find_spec("matplotlib"):
        assert (tmp_path / "benchmarks.svg").read_text().lstrip().startswith("<?xml")
    else:
        assert "no figure: No module named 'matplotlib'; pip install matplotlib\n" in capsys.readouterr().out
    same = str(tmp_path / "benchmarks.json")
    assert compare.main([same, same]) == 0
    assert "0 of 1 cases changed" in capsys.readouterr().out


SAMPLED = """\
0x0000000000001000
pyrank::avx512::fma(pyrank::avx512::Vec<float>, pyrank::avx512::Vec<float>, pyrank::avx512::Vec<float>)
csrc/cpu/vec.h:113
pyrank::avx512::GroupChain<pyrank::avx512::Lanes<pyrank::avx512::Vec<float> > >::multiply_weights(float const*)
csrc/cpu/chain.h:171
0x0000000000001004
void pyrank::philox_rounds<3>(pyrank::avx512::Words<float>&)
csrc/core/philox.h:41
pyrank::avx512::GroupChain<pyrank::avx512::Lanes<pyrank::avx512::Vec<float> > >::multiply_weights(float const*)
csrc/cpu/chain.h:164
0x0000000000001008
pyrank::avx512::Spectrum<pyrank::avx512::Rows<pyrank::avx512::Vec<double> > >::factor_below<4, 4>(double const*)
csrc/cpu/spectrum.h:300
0x000000000000100c
pyrank::avx512::Spectrum<pyrank::avx512::Rows<pyrank::avx512::Vec<float> > >::factor_below<4, 4>(float const*)
csrc/cpu/spectrum.h:300
0x0000000000001010
memcpy
??:?
"""


def test_samples_go_to_the_innermost_function_that_is_a_stage():
    chains = stages.chains_of_functions(SAMPLED)
    assert list(chains) == [0x1000, 0x1004, 0x1008, 0x100C, 0x1010]
    found = [stages.stage_of(functions) for functions in chains.values()]
    assert found == ["product", "weights", "count in double", "count", "other kernel"]


@pytest.mark.skipif(sys.platform != "linux", reason="perf is a program for Linux")
def test_samples_outside_the_library_are_counted_and_none_is_lost(monkeypatch):
    library = native._extension().__file__
    maps = Path("/proc/self/maps").read_text().splitlines()
    start = min(int(line.split("-")[0], 16) for line in maps if line.endswith(library))
    monkeypatch.setattr(stages.subprocess, "run", lambda *_, **__: type("Done", (), {"stdout": SAMPLED}))
    taken = Counter(
        {start + 0x1000: 5, start + 0x1004: 3, start + 0x1008: 1, start + 0x100C: 2, start + 0x1010: 1, 7: 4}
    )
    assert stages.attribute(taken, library) == Counter(
        {"product": 5, "weights": 3, "count in double": 1, "count": 2, "other kernel": 1, "outside": 4}
    )


def test_every_stage_names_functions_that_the_kernels_have():
    sources = "".join(path.read_text() for path in sorted((Path(__file__).parents[1] / "csrc").glob("c[op][ru]*/*.h")))
    for stage, pattern in stages.STAGES.items():
        names = re.findall(r"[A-Za-z_]{4,}", re.sub(r"\[.*?\]|\\w", "", pattern))
        missing = [name for name in names if not re.search(rf"\b{name}\w*", sources)]
        assert not missing, f"{stage}: {missing} is not in csrc"


def test_stages_say_what_is_missing(monkeypatch):
    monkeypatch.setattr(stages.one_core, "hold", lambda: "not held")
    monkeypatch.setattr(stages.shutil, "which", lambda program: None if program == "addr2line" else program)
    with pytest.raises(SystemExit, match="addr2line is not installed"):
        stages.main(["--widths", "8"])
    monkeypatch.setattr(stages.shutil, "which", lambda program: program)
    monkeypatch.setattr(stages.Path, "read_bytes", lambda path: b"no sections")
    with pytest.raises(SystemExit, match="has no debug information; build it with CXXFLAGS=-g"):
        stages.main(["--widths", "8"])


def test_efficiency_is_by_paired_rounds():
    times = {"1 thread": [8.0, 16.0, 32.0], "4 threads": [2.5, 5.0, 10.0]}
    assert threads.efficiency(times, 4) == Band(0.8, 0.8, 0.8, 3)
    assert {(c.width, c.chains) for c in threads.cases(2)} == {
        *((d, 32) for d in (8, 32, 128, 256)), *((d, 1) for d in (128, 256, 512, 1024)),
    }  # fmt: skip


@pytest.mark.parametrize("what", ["state", "trace"])
def test_threads_that_change_a_bit_stop_the_report(monkeypatch, what):
    honest = threads.compiled.simulate

    def simulate(case, layers, chains, seed, initial, count=1):
        run = honest(case, layers, chains, seed, initial, count)
        array = run.state.numpy() if what == "state" else run["participation_ratio"].trace
        if count > 1:
            array.flat[3] = np.nextafter(array.flat[3], np.inf, dtype=array.dtype)
        return run

    threads.check(SMALL, 2)
    monkeypatch.setattr(threads.compiled, "simulate", simulate)
    with pytest.raises(SystemExit, match=f"{SMALL_NAME}: 2 threads give another result"):
        threads.check(SMALL, 2)


def test_threads_end_to_end(monkeypatch, tmp_path):
    monkeypatch.setattr(threads, "cores", lambda: 2)
    options = ["--rounds", "2", "--seconds", "0.001", "--select", "8x8-", "--out", str(tmp_path)]
    assert threads.main(["--threads", "2", *options]) == 0
    written = json.loads((tmp_path / "threads.json").read_text())
    times = {r["name"]: {name: len(t) for name, t in r["times"].items()} for r in written["results"]}
    assert times == {"8x8-linear-rank-32-float32": {"1 thread": 2, "2 threads": 2}}
    text = (tmp_path / "threads.md").read_text()
    assert text == threads.markdown(written)
    assert text.count("| open |") == 1
    with pytest.raises(SystemExit, match="at least 2 and at most 2"):
        threads.main(["--threads", "4", *options])
