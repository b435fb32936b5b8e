"""An emulated network: a network namespace a host, each linked with a rate and a delay to a switch in user space.

Needs root, a C compiler, `ip` and /dev/net/tun.
"""

import fcntl
import os
import shutil
import struct
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 0x0001, 0x1000
MTU = 32000
SWITCH = Path(__file__).parent / "switch.c"


@dataclass(frozen=True)
class Link:
    """Of each host to the switch.

    Attributes:
        rate_mbit: per second, in each direction.
        delay_ms: one way, from host to host.
    """

    rate_mbit: float
    delay_ms: float


def missing() -> str:
    """Return what this machine lacks for an emulated network, in words; empty if nothing."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    for program in ("ip", "cc"):
        if shutil.which(program) is None:
            return f"the program '{program}' is missing"
    return "" if Path("/dev/net/tun").exists() else "/dev/net/tun is missing"


@contextmanager
def emulated_network(num_hosts: int, link: Link) -> Iterator[list[str]]:
    """Build the network for the time of a block; gives the namespaces, in which the interface `net0` is the link."""
    names = [f"bigbatch{os.getpid()}-{host}" for host in range(num_hosts)]
    with ExitStack() as stack, tempfile.TemporaryDirectory() as folder:
        files = []
        for host, name in enumerate(names):
            _ip("netns", "add", name)
            stack.callback(_ip, "netns", "delete", name)
            files.append(stack.enter_context(_tun(name, host, link)))
        switch = Path(folder) / "switch"
        subprocess.run(["cc", "-O2", "-o", switch, SWITCH], check=True)
        numbers = [file.fileno() for file in files]
        command = [switch, str(link.rate_mbit * 1e6), str(link.delay_ms / 1e3), *map(str, numbers)]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, pass_fds=numbers)
        stack.callback(process.wait)
        stack.callback(process.stdin.close)
        yield names


def run_group(names: Sequence[str], arguments: Sequence[str], timeout_seconds: float) -> str:
    """Run a Python program as one process a host, as a launcher does, and return what rank 0 prints."""
    with tempfile.TemporaryDirectory() as folder:
        processes = []
        for rank, name in enumerate(names):
            places = {"RANK": rank, "WORLD_SIZE": len(names), "LOCAL_RANK": 0, "LOCAL_WORLD_SIZE": 1}
            environment = {
                **os.environ,
                **{key: str(value) for key, value in places.items()},
                "BIGBATCH_STORE": f"{folder}/store",  # the hosts share their file system
                "GLOO_SOCKET_IFNAME": "net0",
                "OMP_NUM_THREADS": "1",
            }
            command = ["ip", "netns", "exec", name, *arguments]
            processes.append(subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True))
        outputs = [process.communicate(timeout=timeout_seconds)[0] for process in processes]
    failed = [rank for rank, process in enumerate(processes) if process.returncode]
    if failed:
        message = f"ranks {failed} failed"
        raise RuntimeError(message)
    return outputs[0]


@contextmanager
def _tun(name: str, host: int, link: Link) -> Iterator[object]:
    """Make the link of a host: a TUN device whose other end is the file that is given."""
    device = f"bb{os.getpid() % 100_000}t{host}"
    with Path("/dev/net/tun").open("r+b", buffering=0) as file:
        fcntl.ioctl(file, TUNSETIFF, struct.pack("16sH", device.encode(), IFF_TUN | IFF_NO_PI))
        os.set_blocking(file.fileno(), False)
        _ip("link", "set", device, "netns", name)
        inside = ("-netns", name)
        _ip(*inside, "link", "set", device, "name", "net0", "mtu", str(MTU), "txqueuelen", "20000")
        _ip(*inside, "address", "add", f"10.99.0.{host + 1}/24", "dev", "net0")
        _ip(*inside, "link", "set", "net0", "up")
        # A host's own card is its bottleneck: TCP sees the queue and keeps it short, as it could not in the switch.
        rate = ("rate", f"{link.rate_mbit}mbit", "burst", "32kb", "limit", "64mb")
        subprocess.run(["tc", "-netns", name, "qdisc", "add", "dev", "net0", "root", "tbf", *rate], check=True)
        _ip(*inside, "link", "set", "lo", "up")
        yield file


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True)
