"""Ctrl-C and SIGTERM: heard between two calls, raised in commands; a second one ends at once."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from pyrank.support import signals
from pyrank.support.signals import Stopped, deferred, number_of, raised

pytestmark = pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
BOTH = pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])


@pytest.fixture(autouse=True)
def handlers():
    """Python's own handlers; those that are there after a test are those that were there before."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    yield
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    for number, handler in before.items():
        signal.signal(number, handler)


@BOTH
def test_deferred_signals_raise_nothing_and_an_echo_is_one_of_them(number):
    with deferred() as listener:
        assert listener.signal is None
        signal.raise_signal(number)
        signal.raise_signal(number)
        assert listener.signal == number


def test_a_second_signal_does_what_it_does_outside(monkeypatch):
    monkeypatch.setattr(signals, "ECHO", 0.0)
    with deferred():
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


@BOTH
def test_in_a_command_a_signal_raises_once(number):
    with raised():
        with pytest.raises(Stopped) as stop:
            signal.raise_signal(number)
        signal.raise_signal(number)
        with deferred() as listener:  # what begins afterwards ends as soon as it can
            assert listener.signal == number
    assert number_of(stop.value) == number


def test_in_a_command_a_computation_defers():
    with raised(), deferred() as listener:
        signal.raise_signal(signal.SIGTERM)
        assert listener.signal == signal.SIGTERM


def test_a_handler_of_the_program_for_sigterm_stays():
    heard = []
    signal.signal(signal.SIGTERM, lambda *_: heard.append(1))
    with deferred() as listener, raised():
        signal.raise_signal(signal.SIGTERM)
    assert (heard, listener.signal) == ([1], None)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def test_other_threads_install_nothing():
    def listen():
        with deferred() as listener, raised():
            found.append((listener.signal, signal.getsignal(signal.SIGTERM)))

    found = []
    thread = threading.Thread(target=listen)
    thread.start()
    thread.join()
    assert found == [(None, signal.SIG_DFL)]


def test_the_number_and_what_is_unsaved_are_passed_on():
    stop = Stopped.after(Stopped("inside", signal.SIGTERM, "not written: x"), "in task 3")
    assert (str(stop), number_of(stop), stop.unsaved) == ("in task 3; not written: x", signal.SIGTERM, "not written: x")
    plain = Stopped.after(KeyboardInterrupt(), "in task 3")
    assert (str(plain), number_of(plain)) == ("in task 3", signal.SIGINT)


def start(script, tmp_path):
    """Run a script in a process of its own that says when it is ready."""
    script = f"import hashlib, os, signal, sys, time\nfrom pyrank.support import signals\n{script}"
    process = subprocess.Popen([sys.executable, "-c", script], cwd=tmp_path, stdout=subprocess.PIPE)
    process.stdout.readline()
    return process


COMPILED = """
with signals.{listening}():
    print(flush=True)
    hashlib.pbkdf2_hmac("sha256", b"", b"", 10**8)  # half a minute in one call
"""


def test_a_second_signal_ends_a_command_inside_of_a_compiled_call(tmp_path):
    with start(COMPILED.format(listening="raised"), tmp_path) as process:
        time.sleep(0.2)  # by now it is in that call
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        process.send_signal(signal.SIGTERM)  # an echo
        time.sleep(signals.ECHO + 0.2)
        assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=10) == 143
        assert time.monotonic() - began < 5


FORKED = """
with signals.raised(), signals.deferred():
    if not (child := os.fork()):
        time.sleep(60)
        os._exit(0)
    print(flush=True)
    for _ in range(3):
        os.kill(child, signal.SIGTERM)
        time.sleep(signals.ECHO + 0.1)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGTERM
    sys.exit(5)
"""


def test_a_forked_child_is_stopped_as_usual_and_alone(tmp_path):
    with start(FORKED, tmp_path) as process:
        assert process.wait(timeout=10) == 5
