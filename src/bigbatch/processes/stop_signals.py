"""Signals that stop a training: after the first it ends at its next iteration; a second interrupt ends it now."""

import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import ClassVar, Final, NoReturn, Self

from bigbatch.processes.outcome import ExitCode
from bigbatch.processes.siblings import cannot_go_on

POLITE: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
SHOW_CURSOR: Final = "\x1b[?25h"
POLITE_COMMANDS: Final = ("train", "sweep")
READERS_SECONDS: Final = 20  # that a reader of data lives on after a SIGTERM


class StopSignals:
    """Notice SIGTERM, SIGUSR1 and SIGINT while it is entered; outside the main thread it notices nothing.

    Those within another one know what that one has noticed.

    A SIGINT, and then another one or a SIGTERM (which is what torch's launcher makes of a second Ctrl-C), ends the
    process at once. A thread reads the signals from the pipe that the C handler writes to: it notices them also while
    the main thread waits for a message.

    Args:
        is_lost: tells whether a process of the group has failed; the launcher then stops the others, and a signal ends
            the process at once.
        what_follows: is said after the first signal; nothing is said if it is empty.

    """

    innermost: ClassVar["StopSignals | None"] = None

    def __init__(
        self,
        is_lost: Callable[[], bool] = lambda: False,
        *,
        what_follows: str = "stops after this iteration, and saves",
    ) -> None:
        self.is_lost, self.what_follows = is_lost, what_follows
        self.outer: StopSignals | None = None
        self.own: str | None = None
        self.is_interrupted_here = False

    @property
    def received(self) -> str | None:
        """The name of the first signal, or None."""
        return (self.outer.received if self.outer else None) or self.own

    @property
    def is_interrupted(self) -> bool:
        """Whether one of the signals was a SIGINT."""
        return self.is_interrupted_here or (self.outer is not None and self.outer.is_interrupted)

    def __enter__(self) -> Self:
        self.is_watching = threading.current_thread() is threading.main_thread()
        if self.is_watching:
            self.reader, self.writer = socket.socketpair()
            self.writer.settimeout(0)
            self.handlers_before = {number: signal.signal(number, _leave_it_to_the_thread) for number in POLITE}
            self.pipe_before = signal.set_wakeup_fd(self.writer.fileno(), warn_on_full_buffer=False)
            self.thread = threading.Thread(target=self._watch, name="bigbatch-signals", daemon=True)
            self.thread.start()
            self.outer, StopSignals.innermost = StopSignals.innermost, self
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.is_watching:
            signal.set_wakeup_fd(self.pipe_before)
            for number, handler in self.handlers_before.items():
                signal.signal(number, signal.SIG_DFL if handler is None else handler)  # None: installed from C
            self._end_thread()

    def _end_thread(self) -> None:
        """Read what has come, to the end."""
        self.writer.shutdown(socket.SHUT_RDWR)  # which ends the thread, also where a forked reader holds a copy
        self.thread.join()
        self.writer.close()
        self.reader.close()
        StopSignals.innermost = self.outer

    def _watch(self) -> None:
        while numbers := self.reader.recv(1):
            self._notice(numbers[0])

    def _notice(self, number: int) -> None:
        if number not in POLITE:
            return
        if self.is_lost():
            os._exit(1)
        if self.is_interrupted and number in {signal.SIGINT, signal.SIGTERM}:
            if sys.stderr.isatty():
                sys.stderr.write(SHOW_CURSOR)  # a progress bar has hidden it
            _say("interrupted twice: ended at once, without saving")
            os._exit(ExitCode.INTERRUPTED)
        self.is_interrupted_here = self.is_interrupted_here or number == signal.SIGINT
        if self.received is None:
            self.own = signal.Signals(number).name
            again = "; interrupt again to end at once" if self.is_interrupted else ""
            if self.what_follows:
                _say(f"{self.received}: {self.what_follows}{again}")


def notice_signals_early(arguments: Sequence[str]) -> None:
    """Notice signals from now on, in a process whose command can stop politely; the imports before it take seconds.

    Call it once, before heavy imports. What the command enters later (`StopSignals`) knows what has come before.

    Args:
        arguments: the words after `bigbatch`.
    """
    if arguments and arguments[0] in POLITE_COMMANDS:
        StopSignals(cannot_go_on, what_follows="stops as soon as it can").__enter__()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, POLITE)  # if `leave_signals_to_the_next` has blocked them


def leave_signals_to_the_next() -> None:
    """Leave signals, also one that has come, to the program that replaces this one in its process."""
    early = StopSignals.innermost
    if early is None:
        return
    signal.pthread_sigmask(signal.SIG_BLOCK, POLITE)  # both outlive the replacement: the mask, and what waits behind it
    signal.set_wakeup_fd(-1)
    early._end_thread()  # noqa: SLF001 - of this module
    if early.received:
        signal.pthread_kill(threading.get_ident(), signal.Signals[early.received])


def end_at_a_signal() -> None:
    """End at the next signal, or now if one has come. It is for a launcher that has started no process yet.

    Once it starts its processes, torch's handlers take over, and pass the signal on.

    Raises:
        SystemExit: a signal has come, with the exit code of a stop.
    """
    early = StopSignals.innermost
    if early is None:
        return
    for number in POLITE:
        signal.signal(number, _end)
    signal.set_wakeup_fd(-1)
    early._end_thread()  # noqa: SLF001 - of this module
    if early.received:
        raise SystemExit(ExitCode.STOPPED)


def _end(number: int, _frame: object) -> NoReturn:
    _say(f"{signal.Signals(number).name}: stopped before it began")
    raise SystemExit(ExitCode.STOPPED)


def outlive_stop_signals() -> None:
    """Go on for a while after a stop signal, in a process that reads data: its parent still finishes an iteration."""
    signal.set_wakeup_fd(-1)
    for number in POLITE:
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.signal(signal.SIGTERM, lambda *_: signal.alarm(READERS_SECONDS))


def _say(text: str) -> None:
    """Print a line, on one of the processes."""
    if os.environ.get("RANK", "0") == "0":
        sys.stderr.write(f"bigbatch: {text}\n")
        sys.stderr.flush()


def _leave_it_to_the_thread(_number: int, _frame: object) -> None:
    """Do nothing: the thread reads the signal from the pipe."""
