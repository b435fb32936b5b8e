"""Exchanges that go on beside the computation, one after the other, in the same order on every process."""

import weakref
from collections.abc import Callable, Sequence
from queue import SimpleQueue
from threading import Thread, current_thread
from typing import Final, Protocol

import torch
from torch import Tensor
from torch.futures import Future

from bigbatch.processes.lost_peer import wait_for_peers

Job = Callable[[], None]
PATIENCE: Final = 0.9  # of a group's timeout
ENDING_SECONDS: Final = 10  # at most; an idle thread ends at once


class Communication(Protocol):
    """Where exchanges run."""

    def submit(self, job: Job, result: Tensor) -> Future[Tensor]:
        """Run the job after those before it. The future holds `result`, also if the job fails."""
        ...

    def finish(self) -> None:
        """Wait for all jobs.

        Raises:
            Exception: that of the first job that failed; those after it were not run.
        """
        ...

    def wait(self, timeout_seconds: float) -> None:
        """Wait on the host until the device has the results.

        Raises:
            PeerLostError: it does not have them in time, as another process is gone or late.
        """
        ...

    def close(self) -> None:
        """End what runs the jobs."""
        ...


class ThreadCommunication:
    """A thread that runs the jobs: for messages that block, as Gloo's.

    It is a daemon: a process that fails ends at once, although the thread may wait, and its peers notice.
    """

    def __init__(self) -> None:
        self.jobs: SimpleQueue[Job | None] = SimpleQueue()
        self.pending: list[Future[Tensor]] = []
        self.errors: list[BaseException] = []
        self.thread = Thread(target=_run_jobs, args=(self.jobs,), name="bigbatch-communication", daemon=True)
        self.thread.start()
        # The thread ends also if this is never closed. An interpreter that ends must not meet it among torch's objects.
        weakref.finalize(self, _end, self.jobs, self.pending, self.thread)

    def submit(self, job: Job, result: Tensor) -> Future[Tensor]:
        """Queue the job."""
        future: Future[Tensor] = Future()
        self.pending.append(future)
        errors = self.errors

        def run() -> None:
            # An error must not reach DDP's reducer, which would abort: `finish` raises it before the result is used.
            try:
                if not errors:
                    job()
            except BaseException as error:  # noqa: BLE001 - raised again by `finish`
                errors.append(error)
            finally:
                future.set_result(result)

        self.jobs.put(run)
        return future

    def finish(self) -> None:
        """Wait for the thread."""
        for future in self.pending:
            future.wait()
        self.pending.clear()
        if self.errors:
            raise self.errors[0]

    def wait(self, timeout_seconds: float) -> None:
        """Return: `finish` has waited."""

    def close(self) -> None:
        """Join the thread."""
        self.jobs.put(None)
        self.thread.join()


def _run_jobs(jobs: SimpleQueue[Job | None]) -> None:
    while job := jobs.get():
        job()
        del job  # with its tensors and futures, which this thread must not be the one to free when Python ends


def _end(jobs: SimpleQueue[Job | None], pending: Sequence[Future[Tensor]], thread: Thread) -> None:
    """Let the thread end, and wait for it unless it waits for other processes."""
    jobs.put(None)
    if thread is not current_thread() and all(future.done() for future in pending):
        thread.join(ENDING_SECONDS)


class StreamCommunication:
    """A CUDA stream that the jobs are queued on: for collectives that do not block, as NCCL's."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

    def submit(self, job: Job, result: Tensor) -> Future[Tensor]:
        """Queue the job behind what the current stream has been given so far."""
        future: Future[Tensor] = Future(devices=[self.device])
        self.stream.wait_stream(torch.cuda.current_stream(self.device))
        with torch.cuda.stream(self.stream):
            job()
            future.set_result(result)
        return future

    def finish(self) -> None:
        """Let the current stream wait for the jobs."""
        torch.cuda.current_stream(self.device).wait_stream(self.stream)

    def wait(self, timeout_seconds: float) -> None:
        """Ask again and again: a host that waits inside CUDA could not notice that another process is lost.

        NCCL ends this process once the group's timeout is over, so it must be noticed before.
        """
        done = torch.cuda.Event()  # type: ignore[no-untyped-call]
        done.record()
        wait_for_peers(done.query, PATIENCE * timeout_seconds)

    def close(self) -> None:
        """Wait for the stream."""
        self.stream.synchronize()
