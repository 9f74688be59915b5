"""Files: links followed, pipes and devices written through, and only regular files replaced, in one step."""

import errno
import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from pyrank.support import files
from pyrank.support.errors import ArgumentError
from pyrank.support.files import check_file, write, write_all

pytestmark = pytest.mark.skipif(os.name == "nt", reason="POSIX files")
ROOT = os.name != "nt" and os.geteuid() == 0


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_links_are_followed(tmp_path):
    (tmp_path / "folder").mkdir()
    link = tmp_path / "link"
    link.symlink_to("second")
    (tmp_path / "second").symlink_to("folder/real.json")
    for text in ("new", "old"):
        check_file("--json", link)
        write(link, text)
        assert link.is_symlink()
        assert (tmp_path / "folder/real.json").read_text() == text
    assert (names(tmp_path), names(tmp_path / "folder")) == (["folder", "link", "second"], ["real.json"])


def test_pipe_is_written_through(tmp_path):
    pipe, read = tmp_path / "pipe", []
    os.mkfifo(pipe)
    check_file("--json", pipe)
    reader = threading.Thread(target=lambda: read.append(pipe.read_text()))
    reader.start()
    write(pipe, "é" * 10**5)
    reader.join()
    assert read == ["é" * 10**5]
    assert pipe.is_fifo()
    assert names(tmp_path) == ["pipe"]


@pytest.mark.skipif(not ROOT, reason="devices are made by root")
def test_device_stays_a_device(tmp_path):
    device = tmp_path / "mynull"
    try:
        os.mknod(device, 0o666 | stat.S_IFCHR, os.makedev(1, 3))
        device.write_text("")
    except OSError as error:
        pytest.skip(f"devices cannot be used here: {error}")
    check_file("--json", device)
    write(device, "x")
    assert device.is_char_device()
    assert names(tmp_path) == ["mynull"]


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="no /proc")
def test_open_file_is_written_through(tmp_path):
    """As /dev/stdout, if that was sent to a file: what is printed later follows."""
    place, link = tmp_path / "out.txt", tmp_path / "stdout"
    with place.open("w") as file:
        link.symlink_to(f"/proc/self/fd/{file.fileno()}")
        for path in (link, f"/dev/fd/{file.fileno()}"):
            check_file("--json", path := Path(path))
            write(path, "one\n")
        print("two", file=file)
    assert place.read_text() == "one\none\ntwo\n"
    assert names(tmp_path) == ["out.txt", "stdout"]


def test_standard_output_of_a_command(tmp_path):
    script = "import pathlib; from pyrank.support.files import write; write(pathlib.Path('/dev/stdout'), 'one\\n'); "
    script += "print('two')"
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout == "one\ntwo\n"


def test_permissions_of_a_replaced_file_stay_and_those_of_a_new_one_follow_the_umask(tmp_path):
    before = os.umask(0o027)
    try:
        path = write(tmp_path / "new", "1")
        assert mode(path) == 0o640
        path.chmod(0o606)
        write(path, "2")
        assert (mode(path), path.read_text()) == (0o606, "2")
    finally:
        os.umask(before)


def test_secret_file_is_never_readable(tmp_path):
    path = write(tmp_path / "secret", "1")
    path.chmod(0o600)

    def pieces():
        (partial,) = tmp_path.glob("*.partial")
        assert mode(partial) == 0o600
        yield b"2"

    files.replace(path, pieces())
    assert path.read_text() == "2"


@pytest.mark.skipif(ROOT, reason="nothing is protected from root")
def test_write_protected_file_is_not_replaced(tmp_path):
    path = write(tmp_path / "kept", "1")
    path.chmod(0o400)
    with pytest.raises(ArgumentError, match="write-protected"):
        check_file("--json", path)
    with pytest.raises(PermissionError):
        write(path, "2")
    assert path.read_text() == "1"


def test_what_the_killed_have_left_is_removed_and_what_the_living_write_is_not(tmp_path):
    dead = subprocess.Popen(["true"])
    dead.wait()
    (tmp_path / f"run.json.{dead.pid}-1.partial").touch()
    (tmp_path / f"run.json.{os.getppid()}-1.partial").touch()
    check_file("--json", tmp_path / "run.json")
    assert names(tmp_path) == [f"run.json.{os.getppid()}-1.partial"]


@pytest.mark.parametrize(("name", "said"), [
    ("folder", "a file, not a folder"), ("absent/x", "create .*absent first"), ("socket", "pipe or character device"),
    ("circle", "(Symlink loop|symbolic links)"), ("x" * 250, "File name too long"),
    ("file/x", "a file in an existing folder"),
])  # fmt: skip
def test_what_cannot_be_written_is_refused(name, said, tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    (tmp_path / "circle").symlink_to("circle")
    os.mknod(tmp_path / "socket", stat.S_IFSOCK)
    before = names(tmp_path)
    with pytest.raises(ArgumentError, match=rf"^--json = .*{said}"):
        check_file("--json", tmp_path / name)
    assert names(tmp_path) == before


def test_what_can_be_written_is_and_one_line_names_the_rest(tmp_path):
    good, gone = tmp_path / "good", tmp_path / "gone" / "x"
    written, line = write_all({gone: "1", good: "2"})
    assert (written, good.read_text()) == ((good,), "2")
    assert line == (
        f"not written: {gone} (No such file or directory); make its folder again, or give another place, and run the "
        "same again"
    )
    assert write_all({good: "3"}) == ((good,), "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_full_disk_has_its_own_remedy():
    check_file("--json", full := Path("/dev/full"))
    assert write_all({full: "1"}) == ((), f"not written: {full} (No space left on device); make room on that disk, or "
                                      "give another place, and run the same again")  # fmt: skip


@pytest.mark.parametrize("call", [(os, "fsync"), (Path, "open"), (Path, "replace")], ids=str)
def test_a_failed_write_leaves_the_old_file(call, tmp_path, monkeypatch):
    path = write(tmp_path / "x", "old")

    def refuse(*_, **__):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(*call, refuse)
    with pytest.raises(OSError, match="Input/output"):
        write(path, "new")
    monkeypatch.undo()
    assert path.read_text() == "old"
    assert names(tmp_path) == ["x"]


def test_a_file_that_cannot_be_given_back_to_its_owner_is_written(tmp_path, monkeypatch):
    path = write(tmp_path / "x", "old")

    def refuse(*_):
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "chown", refuse)
    assert write(path, "new").read_text() == "new"
