"""The thread that talks to the other processes keeps nothing of a job, and none is left when Python ends."""

import gc
import subprocess
import sys
import threading
import weakref
from functools import partial

import torch

from bigbatch.reduction import communication
from bigbatch.reduction.communication import ThreadCommunication

NAME = "bigbatch-communication"
LEFT_OPEN = """
import torch
from bigbatch.reduction.communication import ThreadCommunication

class Last:  # it goes after all that Python calls at its end
    def __del__(self, print=print):
        print(sum(thread.is_alive() for thread in self.threads))

lanes, last = [ThreadCommunication() for _ in range(4)], Last()
last.threads = [lane.thread for lane in lanes]
for lane in lanes:
    lane.submit(lambda: None, torch.zeros(1)).wait()
print(sum(thread.is_alive() for thread in last.threads))
"""


def threads():
    return [thread for thread in threading.enumerate() if thread.name == NAME]


def test_a_job_is_forgotten_before_the_next_is_waited_for():
    """Otherwise the thread would free a job's tensors when Python ends, which torch does not survive."""
    jobs, seen = [torch.zeros(1)], []
    reference = weakref.ref(jobs[0])

    class Jobs:
        def get(self):
            if jobs:
                return partial(torch.sum, jobs.pop())
            seen.append(reference())
            return None

    communication._run_jobs(Jobs())
    assert seen == [None]


def test_the_thread_ends_with_its_owner():
    before = len(threads())
    lane = ThreadCommunication()
    lane.submit(lambda: None, torch.zeros(1)).wait()
    assert len(threads()) == before + 1
    del lane
    gc.collect()
    assert len(threads()) == before


def test_a_thread_that_waits_for_other_processes_keeps_nobody_waiting():
    lane, event = ThreadCommunication(), threading.Event()
    lane.submit(event.wait, torch.zeros(1))
    thread = lane.thread
    del lane
    gc.collect()
    assert thread.is_alive()
    event.set()
    thread.join()


def test_an_interpreter_that_ends_has_no_such_thread():
    done = subprocess.run([sys.executable, "-c", LEFT_OPEN], check=True, capture_output=True, text=True)
    assert done.stdout.split() == ["4", "0"]
