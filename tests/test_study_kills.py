"""P6 under fire: whoever is killed, whenever, no cell is lost, and every bit is that of a serial run."""

import os
import random
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest

from pyrank import Study, grid
from pyrank.studies.store import Store
from pyrank.studies.values import pack

import chores
from test_crews import command_of, descendants

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc to find the workers")

INTERVAL = 0.4  # seconds from kill to kill, at most
PAUSE, CELLS = 0.1, 12  # twelve cells a kill take two workers 0.6 s: no study ends before the last kill
DRIVER = f"""
import sys
sys.path[:0] = [{str(Path(chores.__file__).parent)!r}]
import chores
from pyrank import Study, grid
if __name__ == "__main__":
    log, cells, pause = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
    Study("sweep", grid(task=chores.walk, seed=range(cells), steps=200, log=log, pause=pause)).run(
        workers=2, retry_failed=True
    )
"""


def start(folder, cells, pause):
    return subprocess.Popen(
        [sys.executable, "run.py", str(folder / "log"), str(cells), str(pause)], cwd=folder, stderr=subprocess.PIPE,
        env=os.environ | {"PYTHONWARNINGS": "error"},
    )  # fmt: skip


def kill_at_random(folder, kills, rng):
    """Start the study until it ends by itself, killing it or one of its workers now and then; return its complaints."""
    killed, said = 0, b""
    for _ in range(10 * kills + 10):
        process = start(folder, CELLS * kills, PAUSE)
        while process.poll() is None:
            time.sleep(rng.uniform(0.0, INTERVAL))
            targets = [process.pid, *(pid for pid in descendants(process.pid) if b"forkserver" in command_of(pid))]
            if killed < kills and process.poll() is None:
                try:
                    os.kill(rng.choice(targets), signal.SIGKILL)
                    killed += 1
                except ProcessLookupError:
                    continue
        said += process.communicate()[1]
        if process.returncode == 0:
            assert killed == kills
            return said
    raise AssertionError(f"it never ends: {said.decode()}")


@pytest.mark.parametrize("kills", [5, pytest.param(100, marks=pytest.mark.validate)])
def test_kills_lose_nothing_and_change_nothing(kills, tmp_path):
    (tmp_path / "run.py").write_text(DRIVER)
    said = kill_at_random(tmp_path, kills, random.Random(kills))
    study, cells = Study(tmp_path / "sweep"), CELLS * kills
    assert study.status() == {"done": cells, "failed": 0, "waiting": 0}, said.decode()
    assert Store(tmp_path / "sweep").check() == "ok"
    serial = Study(tmp_path / "serial", grid(task=chores.walk, seed=range(cells), steps=200, pause=0))
    serial.run()
    assert [pack(found) for found in study.results()] == [pack(found) for found in serial.results()]
    assert len((tmp_path / "log").read_text().split()) <= cells + cells * kills


@pytest.mark.parametrize("kills", [2, pytest.param(50, marks=pytest.mark.validate)])
def test_kills_of_dask_workers_lose_nothing_and_change_nothing(kills, tmp_path):
    distributed = pytest.importorskip("distributed")
    cells = grid(task=chores.walk, seed=range(CELLS * kills), steps=200, pause=PAUSE)
    study, rng, killed, ended = Study(tmp_path / "sweep", cells), random.Random(kills), [], threading.Event()

    def kill(cluster):
        while len(killed) < kills and not ended.wait(rng.uniform(0.0, INTERVAL)):
            pids = [nanny.process.pid for nanny in cluster.workers.values() if nanny.process and nanny.process.pid]
            with suppress(IndexError, ProcessLookupError):  # between two workers there may be none
                os.kill(rng.choice(pids), signal.SIGKILL)
                killed.append(cluster)

    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as cluster,
        distributed.Client(cluster) as client,
    ):
        thread = threading.Thread(target=kill, args=[cluster])
        thread.start()
        assert study.run(executor=client.get_executor()) == {"done": len(cells), "failed": 0, "waiting": 0}
        ended.set()
        thread.join()
    assert len(killed) == kills
    serial = Study(tmp_path / "serial", grid(task=chores.walk, seed=range(CELLS * kills), steps=200, pause=0))
    serial.run()
    assert [pack(found) for found in study.results()] == [pack(found) for found in serial.results()]


def test_nothing_is_computed_twice_without_need(tmp_path):
    (tmp_path / "run.py").write_text(DRIVER)
    for _ in range(2):
        process = start(tmp_path, 60, 0.0)
        assert process.communicate()[1] == b""
        assert process.returncode == 0
    assert sorted(map(int, (tmp_path / "log").read_text().split())) == list(range(60))
