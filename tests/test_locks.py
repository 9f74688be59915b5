"""One writer a file: the second is told who the first is, and nobody is kept out by the dead."""

import errno
import os
import signal
import subprocess
import sys
import threading

import pytest

import pyrank
from pyrank import ArgumentError, cli
from pyrank.support import locks
from pyrank.support.locks import sole_writer

pytest.importorskip("fcntl")
HERE = (
    rf"held by process {os.getpid()} on {os.uname().nodename} since \d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d, which is this one"
)


@pytest.fixture(params=["file", "folder"])
def place(request, tmp_path):
    if request.param == "folder":
        (tmp_path / "results").mkdir()
        return tmp_path / "results"
    return tmp_path / "run.ckpt"


def hidden(path):
    return [file.name for file in path.parent.rglob(".*")]


def hold(place, then=""):
    """Start a process that holds a place and waits."""
    script = f"""if True:
        import os, pathlib, time
        from pyrank.support.locks import sole_writer
        with sole_writer("x", pathlib.Path({str(place)!r})):
            {then}
            print(flush=True)
            time.sleep(60)
    """
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, cwd=place.parent)
    process.stdout.readline()
    return process


def test_the_second_is_told_who_the_first_is(place):
    with sole_writer("out", place):
        for _ in range(2):
            with pytest.raises(ArgumentError, match=rf"^out = .*{HERE}\); wait"), sole_writer("out", place):
                pytest.fail("two at a time")
    assert hidden(place) == []
    with sole_writer("out", place):
        pass


def test_the_lock_dies_with_its_holder(place):
    with hold(place) as process:
        with pytest.raises(ArgumentError, match=f"held by process {process.pid} on"), sole_writer("x", place):
            pass
        process.kill()
        process.wait()
        with sole_writer("x", place):
            pass
    assert hidden(place) == []


def test_forked_children_do_not_keep_it(place):
    fork = "os.fork() or (os.close(1), time.sleep(60))"
    with hold(place, fork) as process:
        child = int(subprocess.check_output(["ps", "-o", "pid=", "--ppid", str(process.pid)]))
        try:
            process.kill()
            process.wait()
            with sole_writer("x", place):
                pass
        finally:
            os.kill(child, signal.SIGKILL)


def test_a_link_locks_what_it_leads_to(tmp_path):
    (tmp_path / "link").symlink_to("run.ckpt")
    with sole_writer("x", tmp_path / "run.ckpt"), pytest.raises(ArgumentError), sole_writer("x", tmp_path / "link"):
        pass


@pytest.mark.parametrize("number", [errno.ENOTSUP, errno.ENOLCK, errno.EINVAL])
def test_without_locks_work_goes_on(number, place, monkeypatch):
    def refuse(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(locks.fcntl, "flock", refuse)
    with sole_writer("x", place), sole_writer("x", place):
        assert hidden(place) == []
    monkeypatch.setattr(locks, "fcntl", None)
    with sole_writer("x", place), sole_writer("x", place):
        assert hidden(place) == []


def test_a_file_that_its_holder_has_just_removed_is_not_the_lock(place, monkeypatch):
    flock, left = locks.fcntl.flock, [1]

    def remove_before_the_first(descriptor, operation):
        if left:
            left.clear()
            next(place.parent.rglob(".*")).unlink()
        flock(descriptor, operation)

    monkeypatch.setattr(locks.fcntl, "flock", remove_before_the_first)
    with sole_writer("x", place), pytest.raises(ArgumentError, match=HERE), sole_writer("x", place):
        pass


def test_never_two_at_a_time(place):
    inside, most, taken = [], [], []

    def work(name):
        for _ in range(200):
            try:
                with sole_writer("x", place):
                    inside.append(name)
                    most.append(len(inside))
                    taken.append(name)
                    inside.remove(name)
            except ArgumentError:
                pass

    threads = [threading.Thread(target=work, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert max(most) == 1
    assert len(taken) >= 200  # whoever comes last is alone
    assert hidden(place) == []


# --- where it is used ------------------------------------------------------------------------------------------------


def test_two_runs_with_one_checkpoint(tmp_path):
    def again(_layers):
        with pytest.raises(ArgumentError, match=f"^checkpoint = .*{HERE}"):
            pyrank.simulate(pyrank.Chain(4), 10, checkpoint=path)

    path = tmp_path / "run.ckpt"
    pyrank.simulate(pyrank.Chain(4), 10, checkpoint=path, progress=again)
    assert [file.name for file in tmp_path.iterdir()] == ["run.ckpt"]


@pytest.mark.parametrize("arguments", [
    ["simulate", "--width", "4", "--depth", "9", "--checkpoint", "run.ckpt"],
    ["reproduce", "soft-rank-scaling", "--out", "run.ckpt"],
    ["reproduce", "all", "--out", "run.ckpt"],
])  # fmt: skip
def test_a_command_is_told_in_one_line(arguments, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("pyrank.experiments.declaration.run_tasks", lambda *_, **__: pytest.fail("began"))
    place = tmp_path / "run.ckpt"
    if arguments[0] == "reproduce":
        pytest.importorskip("matplotlib")
        place.mkdir()
    with sole_writer("x", place):
        assert cli.main(arguments) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert f"held by process {os.getpid()} on" in err
