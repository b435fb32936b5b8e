"""One process of a group: what becomes of each model of hard_models.py is the same for any number of processes."""

import os

from hard_models import CASES, outcome

from bigbatch.processes.group import Processes
from bigbatch.processes.join import joined

with joined() as machine:
    p = machine.processes.world_size
    for name, case in CASES.items():
        alone = outcome(case, processes=Processes())
        for overlap in (False, True) if case.overlap and case.gives == "right" else (False,):
            together = outcome(case, overlap=overlap)
            assert alone == together, (name, overlap, alone, together)
os._exit(0)  # as the command does: tearing down the interpreter can abort (pytorch#190489)
