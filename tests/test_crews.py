"""Who computes changes nothing: this process, processes that may die, threads, any executor."""

import concurrent.futures
import math
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch

from pyrank import ArgumentError, Study, Task, grid
from pyrank.studies import batches, running, work
from pyrank.studies.batches import Queue
from pyrank.studies.pool import Pool
from pyrank.support.signals import Stopped

import chores

WALKS = {"task": chores.walk, "seed": range(12), "steps": 50}


def contents(study):
    """Every result as text and bytes."""
    return [work.pack(found) for found in study.results()]


@pytest.fixture(scope="module")
def serial(tmp_path_factory):
    """The results of the process itself: of walks and of a grid of chains."""
    found = []
    for cells in (chains(), grid(**WALKS)):
        study = Study(tmp_path_factory.mktemp("serial"), cells)
        study.run()
        found.append(contents(study))
    return found


def interrupt():
    signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)


def chains():
    return grid(width=[4, 9], gamma=[1, math.inf], seed=range(2), depth=300, chains=3, trace=[8],
                measures=["soft_rank(0.5)", "stable_rank"])  # fmt: skip


def test_processes_give_the_bits_of_one(serial, tmp_path):
    for number, cells in enumerate((chains(), grid(**WALKS))):
        study = Study(tmp_path / str(number), cells)
        study.run(workers=2)
        assert contents(study) == serial[number]


def test_executors_give_the_bits_of_one(serial, tmp_path):
    before = torch.get_num_threads(), os.environ.copy()
    with concurrent.futures.ThreadPoolExecutor(3) as executor:
        for number, cells in enumerate((chains(), grid(**WALKS))):
            study = Study(tmp_path / str(number), cells)
            study.run(executor=executor)
            assert contents(study) == serial[number]
    assert before == (torch.get_num_threads(), os.environ.copy())


@pytest.fixture(scope="module")
def dask_executor():
    """Two processes of Dask; a task is given up as soon as one has died at it."""
    dask, distributed = pytest.importorskip("dask"), pytest.importorskip("distributed")
    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 0}),
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client.get_executor()


def test_dask_gives_the_bits_of_one(dask_executor, serial, tmp_path):
    study = Study(tmp_path, grid(**WALKS))
    study.run(executor=dask_executor)
    assert contents(study) == serial[1]


def test_a_worker_of_dask_that_dies_costs_the_cell_it_was_at(dask_executor, tmp_path):
    log = tmp_path / "log"
    cells = [Task(chores.deadly, {"log": str(log)}), *grid(task=chores.square, x=range(5))]
    study = Study(tmp_path / "sweep", cells)
    assert study.run(executor=dask_executor) == {"done": 5, "failed": 1, "waiting": 0}
    ((_, error),) = study.failures()
    assert error.startswith("its worker was lost (KilledWorker: ")
    assert error.endswith(", 3 times")
    assert log.read_text() == "begun\n" * 3


def test_the_order_changes_nothing(serial, tmp_path):
    study = Study(tmp_path, list(reversed(list(chains()))))
    study.run()
    assert contents(study) == serial[0][::-1]


def test_a_process_that_dies_costs_the_cell_it_was_at(tmp_path):
    cells = [Task(chores.picky, {"x": x, "bad": bad}) for bad in (3, 4, 7) for x in range(8)]
    study = Study(tmp_path, cells)
    assert study.run(workers=2) == {"done": 21, "failed": 3, "waiting": 0}
    errors = {cell["bad"]: error for cell, error in study.failures()}
    assert errors == {
        3: "its process ended with status 7, 3 times",
        4: "its process was ended by SIGSEGV, 3 times",
        7: "its process was ended by SIGKILL (out of memory?), 3 times",
    }


class Fragile(concurrent.futures.ThreadPoolExecutor):
    """Loses every batch with a certain cell, as Dask does when a worker dies at it."""

    def submit(self, function, jobs, number):
        def fall_over(jobs):
            if any(b"\x03bad" in job.call and job.key in self.guilty for job in jobs):
                raise RuntimeError("the worker is gone")
            self.alone.append(len(jobs))
            return function(jobs, number)

        return super().submit(fall_over, jobs)


def test_a_lost_worker_costs_its_batch_a_retry_cell_by_cell(tmp_path, monkeypatch):
    monkeypatch.setattr(batches.Queue, "learn", lambda self, task, seconds: None)
    monkeypatch.setattr(batches.Queue, "seconds", lambda self, task: 0.1)
    cells = [Task(chores.picky, {"x": x, "bad": -1}) for x in range(9)]
    taken = batches.Queue.take
    monkeypatch.setattr(
        batches.Queue, "take", lambda self: taken(self) + taken(self) if not self._again else taken(self)
    )
    with Fragile(1) as executor:
        executor.guilty, executor.alone = {cells[4].key}, []
        study = Study(tmp_path, cells)
        assert study.run(executor=executor) == {"done": 8, "failed": 1, "waiting": 0}
    ((cell, error),) = study.failures()
    assert cell["x"] == 4
    assert error == "its worker was lost (RuntimeError: the worker is gone), 3 times"


class Crowded(concurrent.futures.Executor):
    """One worker that takes at once all it is given, and loses all of it with the cell that ends it."""

    def __init__(self, guilty):
        self.guilty, self.taken = guilty, []

    def submit(self, function, *given):
        future = concurrent.futures.Future()
        self.taken.append((future, function, given))
        threading.Timer(0.05, self.work).start()
        return future

    def work(self):
        taken, self.taken = self.taken, []
        ends = any(job.key == self.guilty for _, _, (jobs, _) in taken for job in jobs)
        for future, function, given in taken:
            if ends:
                future.set_exception(RuntimeError("the worker is gone"))
            else:
                future.set_result(function(*given))


def test_cells_beside_the_one_that_ends_a_worker_are_not_blamed(tmp_path):
    cells = grid(task=chores.square, x=range(6))
    study = Study(tmp_path, cells)
    assert study.run(executor=Crowded(cells[2].key)) == {"done": 5, "failed": 1, "waiting": 0}
    assert [cell for cell, _ in study.failures()] == [{"x": 2}]


def test_a_broken_executor_ends_the_run_and_keeps_what_is_done(tmp_path):
    executor = concurrent.futures.ThreadPoolExecutor(1)
    study = Study(tmp_path, grid(task=chores.square, x=range(3)))
    executor._broken = "no threads left"
    with pytest.raises(concurrent.futures.BrokenExecutor):
        study.run(executor=executor)
    assert study.run() == {"done": 3, "failed": 0, "waiting": 0}


def test_one_worker_has_one_thread_and_a_process_alone_has_all(tmp_path):
    for name, workers, expected in (("a", None, None), ("b", 2, 1)):
        study = Study(tmp_path / name, grid(task=chores.counted, steps=[1, 2]))
        study.run(workers=workers)
        assert study.results()[0]["threads"] == expected


# --- long cells ------------------------------------------------------------------------------------------------------


def test_a_long_cell_continues_from_its_file(tmp_path):
    cells = grid(task=chores.counted, steps=[30])
    saved = tmp_path / "checkpoints" / f"{cells[0].key}.ckpt"
    saved.parent.mkdir()
    saved.write_text("20")
    study = Study(tmp_path, cells)
    study.run()
    assert study.results() == [{"began": 20, "threads": None, "saved": True}]
    assert not saved.parent.exists()


def test_a_short_cell_saves_nothing(tmp_path):
    study = Study(
        tmp_path, grid(task=chores.counted, steps=[1, 2])
    )  # the dearest first: the pace is known at the second
    study.run()
    assert [found["saved"] for found in study.results()] == [True, False]


def test_where_the_folder_cannot_be_seen_long_cells_start_over_and_status_says_so(tmp_path, monkeypatch):
    study = Study(tmp_path, [Task(chores.counted, {"steps": 1}), Task(chores.nap, {"seconds": 30})])
    monkeypatch.setattr(work.Path, "exists", lambda path: path.suffix != ".here" and path in path.parent.iterdir())
    threading.Timer(0.5, interrupt).start()
    with pytest.raises(KeyboardInterrupt):
        study.run()
    assert study.results()[0]["saved"] is False
    assert study.status() == {"done": 1, "failed": 0, "waiting": 1, "start over": 1}


# --- signals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [1, 2])
def test_ctrl_c_keeps_what_is_done_and_what_long_cells_have_saved(workers, tmp_path):
    cells = [Task(chores.counted, {"steps": 2000}, cost=9.0), *(Task(chores.square, {"x": x}) for x in range(5))]
    study = Study(tmp_path, cells)

    def when_saved():
        while not list(tmp_path.glob("checkpoints/*.ckpt")):
            time.sleep(0.05)
        time.sleep(0.5)
        interrupt()

    thread = threading.Thread(target=when_saved)
    thread.start()
    began = time.monotonic()
    left = 6 if workers == 1 else 1  # with two, the other one does what is short
    with pytest.raises(Stopped, match=rf"^interrupted, {left} of 6 cells are left; the same again continues in"):
        study.run(workers=workers)
    assert time.monotonic() - began < 15
    thread.join()
    assert study.status() == {"done": 6 - left, "failed": 0, "waiting": left}
    (saved,) = (tmp_path / "checkpoints").glob("*.ckpt")
    assert int(saved.read_text()) > 10


def test_processes_end_with_the_one_that_started_them(tmp_path):
    script = f"""
import sys
sys.path.insert(0, {str(Path(chores.__file__).parent)!r})
import chores
from pyrank import Study, grid
if __name__ == "__main__":
    Study("sweep", grid(task=chores.nap, seconds=[60, 61])).run(workers=2)
"""
    (tmp_path / "run.py").write_text(script)
    process = subprocess.Popen([sys.executable, "run.py"], cwd=tmp_path)
    workers = []
    while len(workers) < 2:
        time.sleep(0.1)
        workers = [pid for pid in descendants(process.pid) if b"forkserver" in command_of(pid)][1:]
    process.kill()
    process.wait()
    ending = time.monotonic() + 10
    while any(command_of(pid) for pid in workers):
        assert time.monotonic() < ending
        time.sleep(0.05)


def descendants(pid):
    """Processes below one, in the order of their numbers."""
    found, parents = [pid], {}
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            parents[int(process.name)] = int((process / "stat").read_text().rpartition(")")[2].split()[1])
    for each in found:
        found += sorted(child for child, parent in parents.items() if parent == each)
    return found[1:]


def command_of(pid):
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""


def test_workers_that_cannot_start_are_told_of(tmp_path):
    script = f"""
import sys
sys.path.insert(0, {str(Path(chores.__file__).parent)!r})
import chores
from pyrank import Study, grid
Study("sweep", grid(task=chores.square, x=[1, 2])).run(workers=2)
"""
    (tmp_path / "run.py").write_text(script)
    done = subprocess.run([sys.executable, "run.py"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "workers end before they begin" in done.stderr.splitlines()[-1]
    assert "if __name__ == '__main__'" in done.stderr.splitlines()[-1]


def test_functions_of_a_session_need_no_worker_to_find_them(tmp_path, monkeypatch):
    monkeypatch.setattr(chores.square, "__module__", "__main__")
    monkeypatch.setattr(sys.modules["__main__"], "square", chores.square, raising=False)
    monkeypatch.delattr(sys.modules["__main__"], "__file__", raising=False)
    study = Study(tmp_path, grid(task=chores.square, x=[2]))
    with pytest.raises(ArgumentError, match=r"workers = 'square': expected functions that other processes can import"):
        study.run(workers=2)
    assert study.run()["done"] == 1


# --- batches ---------------------------------------------------------------------------------------------------------


def tasks(costs):
    return [(str(number), Task(chores.square, {"x": number}, cost=cost)) for number, cost in enumerate(costs)]


def test_the_dearest_cells_go_first_and_alone_until_the_pace_is_known():
    queue = Queue(tasks([1.0, 9.0, 4.0]), workers=2)
    assert [[key for key, _ in queue.take()] for _ in range(3)] == [["1"], ["2"], ["0"]]
    assert not queue


def test_batches_are_half_a_second_long_and_smaller_at_the_end():
    queue = Queue(tasks([2.0] * 1000), workers=4)
    ((_, first),) = queue.take()
    queue.learn(first, 0.02)  # 10 ms a unit
    sizes = []
    while queue:
        sizes.append(len(queue.take()))
    assert sizes[0] == 25 == batches.BATCH_SECONDS / 0.02
    assert sum(sizes) == 999
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-1] == 1


def test_the_pace_follows_what_cells_take():
    queue = Queue(tasks([1.0] * 9), workers=1)
    ((_, task),) = queue.take()
    queue.learn(task, 1.0)
    for _ in range(200):
        queue.learn(task, 0.1)
    assert queue.seconds(task) == pytest.approx(0.1, rel=0.1)


def test_what_comes_back_alone_travels_alone_and_last():
    queue = Queue(tasks([1.0] * 4), workers=1)
    queue.learn(tasks([1.0])[0][1], 0.01)
    (first,) = [queue.take()]
    queue.back(first, alone=True)
    queue.back(tasks([1.0]), alone=False)
    taken = []
    while queue:
        taken.append([key for key, _ in queue.take()])
    assert taken[-len(first) :] == [[key] for key, _ in first]


def test_a_cell_dearer_than_a_share_gets_the_threads_of_as_many(monkeypatch):
    monkeypatch.setattr(batches.os, "cpu_count", lambda: 3)
    cells = tasks([1.0, 9.0, 4.0, 2.0])  # with four workers, 4 each
    queue = Queue(cells, workers=4)
    assert [queue.threads(task) for _, task in cells] == [1, 3, 1, 1]
    assert Queue(cells, workers=2).threads(cells[1][1]) == 2
    assert Queue(cells, workers=1).threads(cells[1][1]) == 1
    assert Queue(tasks([1.0] * 2), workers=2).threads(cells[0][1]) == 1


def test_a_pool_gives_a_cell_its_threads(tmp_path):
    pool = Pool(2, ["chores"])
    pool.submit([work.Job.of("a", Task(chores.threads_given, {}), None, tmp_path, threads=2)])
    events = []
    while not events:
        events = [event for event in pool.wait(0.2) if hasattr(event, "result")]
    assert work.pack(2) == (events[0].result, events[0].arrays)
    pool.close(now=False)


def test_a_pool_uses_what_it_needs(tmp_path):
    pool = Pool(3, ["chores"])
    assert pool.hands() == 3
    pool.submit([work.Job.of("a", Task(chores.square, {"x": 3}), None, tmp_path)])
    assert pool.hands() == 2
    events = []
    while not events:
        events = [event for event in pool.wait(0.2) if hasattr(event, "result")]
    assert work.pack(chores.square(3)) == (events[0].result, events[0].arrays)
    assert pool.hands() == 3
    assert pool.close(now=False) == []
    assert np.isfinite(running.LONG_SECONDS)
