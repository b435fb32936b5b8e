"""A Slurm of one machine, and examples/slurm.sbatch in it: stopped, requeued, preempted and killed.

It needs root, and Debian's slurm-wlm and munge. Its files are in a folder of its own.
"""

import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory

from trial import TINY, Row, Trial, undisturbed_sha256

SCRIPT = Path(__file__).parents[2] / "examples" / "slurm.sbatch"
SHORT, LONG = ((*TINY, "--epochs", epochs) for epochs in (10, 120))
CONFIGURATION = """
ClusterName=trial
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmctldPort={port}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
MpiDefault=none
ReturnToService=2
KillWait=20
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SchedulerParameters=sched_interval=2,bf_interval=2
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
{nodes}
PartitionName=main Nodes=ALL Default=YES PriorityTier=1 OverSubscribe=NO
PartitionName=urgent Nodes=ALL PriorityTier=9 OverSubscribe=NO
"""
NODE = "NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs={cpus}"


class Slurm:
    """A controller and its nodes, all on this machine.

    Args:
        folder: of its files.
        nodes: how many share the 2 processors.
    """

    def __init__(self, folder: Path, nodes: int) -> None:
        self.folder, self.nodes = folder, nodes
        self.environment = {**os.environ, "SLURM_CONF": str(folder / "slurm.conf")}
        self.daemons: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        """Start munge, the controller and the node, and wait until it takes jobs."""
        (self.folder / "state").mkdir()
        (self.folder / "munge.key").write_bytes(os.urandom(128))
        (self.folder / "munge.key").chmod(0o400)
        host, port, *ports = socket.gethostname(), *_free_ports(1 + self.nodes)
        places = dict(zip((host, "localhost"), ports, strict=False))  # names that lead here
        nodes = [NODE.format(name=n, host=host, port=p, cpus=2 // self.nodes) for n, p in places.items()]
        text = CONFIGURATION.format(host=host, folder=self.folder, port=port, nodes="\n".join(nodes))
        (self.folder / "slurm.conf").write_text(text)
        names = {"key-file": "munge.key", "socket": "munge.socket", "log-file": "munge.log"}
        names |= {"pid-file": "munge.pid", "seed-file": "munge.seed"}
        self._daemon("munged", "--foreground", "--force", *(f"--{k}={self.folder / v}" for k, v in names.items()))
        self._daemon("slurmctld", "-D")
        for name in places:
            self._daemon("slurmd", "-D", "-N", name)
        all_idle = ["idle", str(self.nodes)]
        question = ("sinfo", "--noheader", "--format=%T %D")
        wait_until(lambda: self.ask(*question, check=False).split() == all_idle, self.logs)

    def stop(self) -> None:
        """End all."""
        for daemon in reversed(self.daemons):
            daemon.terminate()
            daemon.wait()

    def ask(self, *words: object, check: bool = True) -> str:
        """Run one of Slurm's commands, and return what it prints."""
        command = list(map(str, words))
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, check=False)
        assert not check or done.returncode == 0, done.stderr
        return done.stdout

    def submit(self, script: Path, *options: str) -> int:
        """Submit a script, and return the job's number."""
        return int(self.ask("sbatch", "--parsable", f"--chdir={self.folder}", *options, script))

    def state(self, job: int) -> str:
        """Return a job's state and how often it was restarted, such as "RUNNING 1"."""
        shown = self.ask("scontrol", "show", "job", job)
        found = [re.search(rf"{name}=(\w+)", shown) for name in ("JobState", "Restarts")]
        return " ".join(match[1] for match in found if match)

    def logs(self) -> str:
        """Return what the daemons and jobs have said."""
        paths = [*self.folder.glob("*.log")]
        return "\n".join(f"{path.name}: {path.read_text(errors='replace')[-1500:]}" for path in paths)

    def _daemon(self, *words: str) -> None:
        with (self.folder / f"{len(self.daemons)}-{words[0]}.out.log").open("wb") as log:
            self.daemons.append(subprocess.Popen(words, stdout=log, stderr=log, env=self.environment))


@contextmanager
def slurm(nodes: int) -> Iterator[Slurm]:
    """Start a Slurm, for the time of a trial."""
    with TemporaryDirectory(prefix="slurm-") as name:
        Path(name).chmod(0o755)
        found = Slurm(Path(name), nodes)
        try:
            found.start()
            yield found
        finally:
            found.stop()


def is_there() -> bool:
    """Tell whether the programs are, and whether we may run them."""
    return os.geteuid() == 0 and all(map(shutil.which, ("munged", "slurmctld", "slurmd", "sbatch")))


def small_script(cluster: Slurm, recipe: tuple[object, ...], run: Path, *, minutes: int = 30) -> Path:
    """Write the example with the sizes of this machine: two tasks, a small training."""
    text = SCRIPT.read_text()
    sizes = {"nodes": cluster.nodes, "ntasks-per-node": 2 // cluster.nodes, "cpus-per-task": 1, "time": minutes}
    for option, value in (sizes | {"signal": "USR1@30"}).items():
        text, count = re.subn(rf"^#SBATCH --{option}=.*$", f"#SBATCH --{option}={value}", text, flags=re.MULTILINE)
        assert count == 1, option
    text = re.sub(r"^#SBATCH --gpus-per-node=.*\n", "", text, flags=re.MULTILINE)
    words = " ".join(map(str, recipe[1:]))
    command = rf'train {words} --output "{run}" --resume --timeout 30'
    text, count = re.subn(r"train imagenet-resnet50 \\\n(?:.*\\\n)*.*\n", command + "\n", text)
    assert count == 1
    path = cluster.folder / "job.sbatch"
    path.write_text(text.replace("srun --kill", f"PATH={Path(sys.executable).parent}:$PATH srun --kill"))
    return path


def wait_until(holds: Callable[[], object], explain: Callable[[], str], seconds: float = 240) -> None:
    """Wait until something holds: some times as long as a task waits for one that was killed before they met.

    Raises:
        TimeoutError: it did not, with what is known.
    """
    end = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > end:
            raise TimeoutError(explain())
        time.sleep(0.1)


def survive(harms: tuple[str, ...] = ("signal", "early signal", "preemption", "killed srun"), *, nodes: int = 1) -> Row:
    """Harm a job once for each word, and compare its weights with those of a run in peace.

    "signal" is `scancel --signal=USR1` while it trains; "early signal" the same as soon as its tasks have begun, before
    they can have imported torch; "preemption" a job of a partition that comes first; "killed srun" is kill -9 of srun,
    after which the script is submitted again, as a person would.
    """
    expected = undisturbed_sha256(*SHORT)
    with slurm(nodes) as cluster:
        run = Trial(cluster.folder / "run", *SHORT)
        script = small_script(cluster, SHORT, run.folder)
        job = cluster.submit(script)
        for harm in harms:
            attempts = run.num_attempts()
            wait_until(lambda job=job: cluster.state(job).startswith("RUNNING"), cluster.logs)
            if harm == "early signal":
                wait_until(lambda: tasks(run.folder), cluster.logs)
            else:
                before = len(run.iterations())
                wait_until(lambda n=attempts: run.num_attempts() > n, cluster.logs)
                wait_until(lambda n=before: len(run.iterations()) > n, cluster.logs)
            job = HARMS[harm](cluster, job, script)
        wait_until(lambda: cluster.state(job).startswith(("COMPLETED", "FAILED")), cluster.logs)
        ended, summary = cluster.state(job), run.summary()
        assert summary, cluster.logs()
    is_same = summary.get("weights_sha256") == expected
    return Row(
        f"examples/slurm.sbatch in a real Slurm of {nodes} node{'s' * (nodes > 1)}: {', '.join(harms)}",
        "the job goes on by itself, to the undisturbed weights",
        f"{ended.split()[0].lower()} after {len(summary['attempts'])} attempts that trained; the weights are "
        f"{'the same' if is_same else 'OTHERS'}",
        is_same and ended.startswith("COMPLETED"),
    )


def outlive_time_limits() -> Row:
    """Let the time limit of a minute hit a training that takes longer, again and again."""
    expected = undisturbed_sha256(*LONG)
    with slurm(1) as cluster:
        run = Trial(cluster.folder / "run", *LONG)
        job = cluster.submit(small_script(cluster, LONG, run.folder, minutes=1))
        wait_until(lambda: cluster.state(job).startswith(("COMPLETED", "FAILED", "TIMEOUT")), cluster.logs, 1200)
        ended, summary = cluster.state(job), run.summary()
    is_same = summary.get("weights_sha256") == expected
    return Row(
        "examples/slurm.sbatch with a time limit of a minute, and a longer training",
        "each attempt stops in time, and the last one ends with the undisturbed weights",
        f"{ended.lower()} restarts, {len(summary['attempts'])} attempts; the weights are "
        f"{'the same' if is_same else 'OTHERS'}",
        is_same and ended.startswith("COMPLETED"),
    )


def _signal(cluster: Slurm, job: int, _script: Path) -> int:
    restarts = cluster.state(job).split()[-1]
    cluster.ask("scancel", "--signal=USR1", job)
    wait_until(lambda: cluster.state(job).split()[-1] != restarts, cluster.logs)
    return job


def _preempt(cluster: Slurm, job: int, _script: Path) -> int:
    restarts = cluster.state(job).split()[-1]
    urgent = cluster.submit(_sleeper(cluster.folder), "--partition=urgent", "--ntasks=2")
    wait_until(lambda: cluster.state(job).split()[-1] != restarts, cluster.logs)
    wait_until(lambda: cluster.state(urgent).startswith("COMPLETED"), cluster.logs)
    return job


def _kill_srun(cluster: Slurm, job: int, script: Path) -> int:
    subprocess.run(["pkill", "-KILL", "-x", "srun"], check=True)
    wait_until(lambda: cluster.state(job).startswith(("FAILED", "COMPLETED")), cluster.logs)
    return cluster.submit(script)


HARMS = {"signal": _signal, "early signal": _signal, "preemption": _preempt, "killed srun": _kill_srun}


def tasks(run: Path) -> list[int]:
    """Return the process numbers of the job's tasks, from their first moment on."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes()
        except OSError:
            continue
        if str(run).encode() in words and b"srun" not in words:
            found.append(int(path.parent.name))
    return found


def _sleeper(folder: Path) -> Path:
    path = folder / "urgent.sbatch"
    path.write_text("#!/bin/bash\nsleep 1\n")
    return path


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def main() -> None:
    """Run the trials, and write their card."""
    from card import write_card

    rows = [survive(), survive(nodes=2), outlive_time_limits()]
    lines = [f"| {r.fault} | {r.promise} | {r.measured} | {'kept' if r.is_kept else '**falls short**'} |" for r in rows]
    table = "| fault | promise | measured | |\n|---|---|---|---|\n" + "\n".join(lines)
    write_card("slurm", "The Slurm example in a real Slurm", [asdict(row) for row in rows], table)


if __name__ == "__main__":
    main()
