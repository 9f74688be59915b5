"""Without the packages that few features need, everything else works, and those few say what to install."""

import subprocess
import sys

ABSENT = ("arviz_base", "arviz_stats", "matplotlib", "pandas", "tqdm", "xarray")
PREPARE = f"""
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {ABSENT}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Absent())
from pathlib import Path
import pyrank
from pyrank import cli, experiments

chain = pyrank.Chain(8)
run = pyrank.simulate(chain, 600, chains=4, measures=["trace", "stable_rank"], progress=True)
"""
WORKS = """
from pyrank.experiments import Simulation
from pyrank.experiments.tasks import run_tasks
from pyrank.support.progress import count_bar

assert "4 chains of width 8" in str(run) and "<table" in run._repr_html_() and "stable_rank" in str(run)
estimate = run["stable_rank"]
assert estimate.mean > 1 and estimate.stderr > 0 and estimate.ess > 1 and estimate.rhat < 2 and estimate.trace.size
assert run.to_dict()["estimates"]["stable_rank"]["count"] == 600
assert pyrank.lyapunov_spectrum(pyrank.Chain(4, normalization="none"), 1_000, progress=True).exponents.size == 4
assert "torch" in pyrank.show_config()
assert cli.main(["info"]) == 0
assert cli.main(["simulate", "--width", "8", "--depth", "50", "--checkpoint", "run.ckpt"]) == 0
assert cli.main(["reproduce", "--list"]) == 0
assert all(experiments.load(name).presets for name in experiments.EXPERIMENTS)
run_tasks([Simulation("a", chain, 9), Simulation("b", chain, 9, cost=2.0)], Path(), progress=True)
with count_bar(3, True) as shown:
    shown.set_description("one")
    shown.update()
"""
REFUSES = """
spectrum = pyrank.lyapunov_spectrum(pyrank.Chain(4, normalization="none"), 1_000)
for ask in (run.to_xarray, run.to_dataframe, run["trace"].diagnostics, run.plot, spectrum.plot,
            experiments.reproduce_all, lambda: experiments.reproduce("bound-check")):
    try:
        ask()
    except ImportError as error:
        print(error)
print(cli.main(["reproduce", "bound-check"]))
print(cli.main(["simulate", "--width", "8", "--depth", "50", "--plot", "run.png"]))
assert not list(Path().iterdir())
"""
SAID = [
    "to_xarray needs xarray: No module named 'xarray'; pip install xarray",
    "to_dataframe needs pandas: No module named 'pandas'; pip install pandas",
    "diagnostics needs arviz-stats: No module named 'arviz_stats'; pip install arviz-stats",
    "a figure needs matplotlib: No module named 'matplotlib'; pip install matplotlib",
]


def run_without(script, folder):
    command = [sys.executable, "-c", PREPARE + script]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def test_everything_else_works_in_silence(tmp_path):
    done = run_without(WORKS, tmp_path)
    assert (done.returncode, done.stderr) == (0, "")


def test_what_needs_a_package_says_so_in_one_line(tmp_path):
    done = run_without(REFUSES, tmp_path)
    assert done.stdout.splitlines() == [*SAID, *[SAID[-1]] * 3, "1", "1"]
    assert (done.returncode, done.stderr) == (0, f"pyrank: {SAID[-1]}\n" * 2)
