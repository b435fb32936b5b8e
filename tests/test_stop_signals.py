"""The first signal asks to stop, a second interrupt ends at once, and a lost group does not wait."""

import os
import signal
import subprocess
import sys
import threading

import pytest

from bigbatch.processes.outcome import ExitCode
from bigbatch.processes.stop_signals import StopSignals

PROGRAM = """
import os, sys, time
from bigbatch.processes.stop_signals import StopSignals
with StopSignals(lambda: sys.argv[1] == "lost") as signals:
    print("ready", flush=True)
    while not signals.received:
        time.sleep(0.01)
    print(signals.received, flush=True)
    os.read(0, 1)  # as a main thread that waits for a message
"""


def started(how="well"):
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, how],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "ready\n"
    return process


@pytest.mark.parametrize("name", ["SIGTERM", "SIGUSR1", "SIGINT"])
def test_the_first_signal_is_noticed_and_ends_nothing(name):
    with started() as process:
        process.send_signal(signal.Signals[name])
        assert process.stdout.readline() == f"{name}\n"
        said = process.communicate("x", timeout=120)[1]
        again = "; interrupt again to end at once" if name == "SIGINT" else ""
        assert said == f"bigbatch: {name}: stops after this iteration, and saves{again}\n"
    assert process.returncode == 0


@pytest.mark.parametrize("second", ["SIGINT", "SIGTERM"])
def test_a_second_interrupt_ends_at_once_whatever_the_main_thread_waits_for(second):
    with started() as process:
        process.send_signal(signal.SIGINT)
        process.stdout.readline()
        process.send_signal(signal.Signals[second])
        assert "interrupted twice" in process.communicate(timeout=120)[1]
    assert process.returncode == ExitCode.INTERRUPTED


def test_a_second_sigterm_does_not():
    """Slurm sends one to every process, and a launcher passes its own on."""
    with started() as process:
        process.send_signal(signal.SIGTERM)
        process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        process.communicate("x", timeout=120)
    assert process.returncode == 0


def test_a_process_of_a_lost_group_ends_at_once():
    with started("lost") as process:
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 1


def test_handlers_and_the_pipe_are_put_back():
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)]
    with StopSignals() as signals:
        os.kill(os.getpid(), signal.SIGUSR1)
        signals.thread.join(0.2)
        assert signals.thread.is_alive()
    assert signals.received == "SIGUSR1", "what came before the end is read to the end"
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)] == before
    assert signal.set_wakeup_fd(-1) == -1


def test_outside_the_main_thread_it_notices_nothing_and_breaks_nothing():
    found = []

    def run():
        with StopSignals() as signals:
            found.append(signals.received)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert found == [None]
