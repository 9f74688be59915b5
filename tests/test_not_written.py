"""What was computed is returned and printed, whatever happens to the files it was to be written to."""

import copy
import errno
import os
import shutil
import signal
import subprocess
import warnings
from dataclasses import dataclass
from pathlib import Path

import pytest

import pyrank
from pyrank import Chain, Interrupted, cli, experiments, plotting, simulate
from pyrank.engine import checkpoint
from pyrank.experiments import Column, Computation, Experiment, Simulation, reproduction
from pyrank.plotting import Panel, Sheet
from pyrank.support import files

import chores
from harness import as_arrays, assert_same, start_command

CHAIN = Chain(8)
ERRORS = pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.ENOENT])


def refuse(number):
    def refused(*_, **__):
        raise OSError(number, os.strerror(number))

    return refused


# --- a run -----------------------------------------------------------------------------------------------------------


@ERRORS
def test_run_is_returned_without_its_checkpoint(number, tmp_path, monkeypatch):
    path = tmp_path / "run.ckpt"
    simulate(CHAIN, 50, checkpoint=path)
    before = path.read_bytes()
    monkeypatch.setattr(os, "fsync", refuse(number))
    with pytest.warns(pyrank.NotWritten) as told:
        run = simulate(CHAIN, 100, checkpoint=path)
    (warning,) = told
    said = f"not written: {path} ({os.strerror(number)}); "
    assert str(warning.message).startswith(said)
    assert Path(warning.filename) == Path(__file__)
    assert_same(as_arrays(run), as_arrays(simulate(CHAIN, 100)))
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["run.ckpt"]


def test_folder_that_vanishes(tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    with pytest.warns(pyrank.NotWritten, match="No such file or directory.*make its folder again"):
        run = simulate(CHAIN, 100, checkpoint=folder / "x", progress=lambda _: shutil.rmtree(folder, True))
    assert run.depth == 100


def test_saves_on_the_way_that_fail_are_told_once_and_tried_again(tmp_path, monkeypatch):
    monkeypatch.setattr("pyrank.engine.simulation.CHECKPOINT_SECONDS", -1.0)
    saves, save = [], checkpoint.save

    def fail_for_a_while(*arguments):
        saves.append(arguments)
        if len(saves) < 4:
            raise OSError(errno.ENOSPC, "No space left on device")
        save(*arguments)

    monkeypatch.setattr(checkpoint, "save", fail_for_a_while)
    path = tmp_path / "run.ckpt"
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        simulate(CHAIN, 10**4, checkpoint=path)
    assert len(saves) > 4
    (warning,) = told  # and none at the end, because the last one succeeded
    assert "No space left on device" in str(warning.message)
    assert str(warning.message).endswith("the run goes on and tries again")
    assert checkpoint.load(path)[0]["layer"] == 10**4


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_run_says_what_it_could_not_save(number, tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "save", refuse(errno.ENOSPC))
    with pytest.raises(Interrupted, match=r"^interrupted at layer [\d,]+ of .*not written: .*No space left.*") as stop:
        simulate(CHAIN, 10**9, checkpoint=tmp_path / "x", progress=lambda n: n and signal.raise_signal(number))
    assert stop.value.signal == number
    assert stop.value.unsaved.startswith("not written")
    assert "resume" not in str(stop.value)
    assert stop.value.run.depth > 0
    assert vars(copy.copy(stop.value)) == vars(stop.value)


# --- the command -----------------------------------------------------------------------------------------------------

COMMAND = ["simulate", "--width", "64", "--depth", "2000", "--chains", "4", "--checkpoint", "run.ckpt"]
COMMAND += ["--json", "run.json"]


def check_told(folder, status, *names):
    """Table printed, a line for each file, status 1."""
    lines = (folder / "err").read_text().splitlines()
    assert (status, len(lines)) == (1, len(names))
    for line, name in zip(lines, names, strict=True):
        assert line.startswith(f"pyrank: not written: {name} (")
    assert "participation_ratio" in (folder / "out").read_text()


def test_limit_on_the_size_of_files(tmp_path, monkeypatch):
    """As `ulimit -f`: the signal that comes with it must not kill."""
    pytest.importorskip("resource")
    monkeypatch.chdir(tmp_path)
    process = start_command(COMMAND, tmp_path, file_size=20480)
    process.join(60)
    check_told(tmp_path, process.exitcode, "run.ckpt")
    assert (tmp_path / "run.json").is_file()
    assert not (tmp_path / "run.ckpt").exists()


@pytest.mark.skipif(os.name == "nt" or os.geteuid() != 0, reason="file systems are mounted by root")
def test_full_disk(tmp_path, monkeypatch):
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16k", "none", disk], capture_output=True).returncode:
        pytest.skip("no file system can be mounted here")
    try:
        monkeypatch.chdir(disk)
        process = start_command(COMMAND, tmp_path)
        process.join(60)
        check_told(tmp_path, process.exitcode, "run.ckpt")
        assert [file.name for file in disk.iterdir()] == ["run.json"]
    finally:
        monkeypatch.undo()
        subprocess.run(["umount", disk], check=True)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_command_prints_its_table_and_then_what_is_not_written(tmp_path, capsys):
    pytest.importorskip("matplotlib")
    (tmp_path / "full.png").symlink_to("/dev/full")
    options = ["--json", "/dev/full", "--plot", str(tmp_path / "full.png")]
    assert cli.main(["simulate", "--width", "8", "--depth", "50", *options]) == 1
    out, err = capsys.readouterr()
    assert "participation_ratio" in out
    assert [line.split("; ")[0] for line in err.splitlines()] == [
        "pyrank: not written: /dev/full (No space left on device)",
        f"pyrank: not written: {tmp_path / 'full.png'} (No space left on device)",
    ]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_output_that_nothing_can_take(tmp_path):
    process = start_command(["info"], tmp_path, output="/dev/full")
    process.join(60)
    assert process.exitcode == 1
    assert (tmp_path / "err").read_text() == (
        "pyrank: the output cannot be written (No space left on device); send it to another place\n"
    )


# --- experiments -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Settings:
    size: int = 1


def declared(*tasks, name="made-up", size=1):
    return Experiment(
        name=name, question="What?", sources=(), presets={"quick": Settings(size)}, tasks=lambda _: tasks,
        columns=(Column("x", "x"),), rows=lambda settings, _: [{"x": settings.size}], claims=lambda _: (),
        caption=lambda _: "c",
        sheet=Sheet("t", [Panel(lambda axes, _: plotting.points(axes, [1], [2], None, 0, "p"))], size=(3, 2)),
    )  # fmt: skip


@pytest.fixture
def without_pictures(monkeypatch):
    """Pictures cannot be written."""
    pytest.importorskip("matplotlib")
    write = files.write

    def refuse_pictures(path, content):
        return refuse(errno.ENOSPC)() if path.suffix in (".png", ".svg") else write(path, content)

    monkeypatch.setattr(files, "write", refuse_pictures)


def test_result_is_returned_with_the_files_that_could_be_written(without_pictures, tmp_path):
    with pytest.warns(pyrank.NotWritten, match=r"made-up\.png, .*made-up\.svg \(No space left on device\); make room"):
        result = experiments.reproduce(declared(), out=tmp_path)
    assert [path.name for path in result.files] == ["made-up.csv", "made-up.txt", "made-up.json"]
    assert all(path.is_file() for path in result.files)
    assert result.png is None
    assert result.table.splitlines()[0] == "x"


def test_files_of_other_settings_do_not_pass_for_those_that_are_missing(tmp_path, monkeypatch, request):
    experiments.reproduce(declared(), out=tmp_path)
    request.getfixturevalue("without_pictures")
    with pytest.warns(pyrank.NotWritten):
        experiments.reproduce(declared(size=2), out=tmp_path)
    assert not (tmp_path / "made-up.png").exists()
    assert experiments.results.finished("made-up", tmp_path, Settings(2)) is None


def test_folder_that_vanishes_is_made_again(tmp_path):
    pytest.importorskip("matplotlib")
    out = tmp_path / "out"
    tasks = (Computation("one", chores.remove, {"path": str(out)}, cost=2.0), Simulation("two", CHAIN, 50))
    result = experiments.reproduce(declared(*tasks), out=out)
    assert all(path.is_file() for path in result.files)


def test_folder_that_becomes_useless_costs_files_and_no_result(tmp_path, capsys, monkeypatch):
    pytest.importorskip("matplotlib")
    out = tmp_path / "out"

    spoil = Computation("one", chores.remove, {"path": str(out), "leave": "a file now"}, cost=2.0)
    tasks = (spoil, Simulation("two", CHAIN, 50))
    monkeypatch.setattr(experiments.catalogue, "load", lambda _: declared(*tasks))
    assert cli.main(["reproduce", "made-up", "--out", str(out)]) == 1
    printed, err = capsys.readouterr()
    assert printed.splitlines()[:2] == ["x", "1"]
    assert "written" not in printed
    without, unsaved, lost = err.splitlines()
    assert "the study goes on and tries again" in without
    assert unsaved.startswith(f"pyrank: not written: {out / 'made-up.study/study.sqlite'} (")
    assert lost.startswith(f"pyrank: not written: {out / 'made-up.csv'}, ")


def test_page_shows_what_is_found_without_its_pictures(without_pictures, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(reproduction, "EXPERIMENTS", {"made-up": "made"})
    monkeypatch.setattr(reproduction, "load", lambda _: declared())
    assert cli.main(["reproduce", "all", "--out", str(tmp_path)]) == 1
    out, err = capsys.readouterr()
    assert f"written: {tmp_path / 'index.html'}" in out
    assert err.count("\n") == 1
    page = (tmp_path / "index.html").read_text()
    assert "What?" in page
    assert "<img" not in page


def test_page_that_cannot_be_written(tmp_path, monkeypatch, capsys):
    pytest.importorskip("matplotlib")
    monkeypatch.setattr(reproduction, "EXPERIMENTS", {"made-up": "made"})
    monkeypatch.setattr(reproduction, "load", lambda _: declared())
    (tmp_path / "index.html").mkdir()
    assert cli.main(["reproduce", "all", "--out", str(tmp_path)]) == 1
    out, err = capsys.readouterr()
    assert "made-up" in out
    assert "written" not in out
    assert err.startswith(f"pyrank: not written: {tmp_path / 'index.html'} (")
