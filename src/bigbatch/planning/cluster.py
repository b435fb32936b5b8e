"""A cluster: its machines and links, as a user describes them."""

from dataclasses import dataclass, fields, replace
from typing import Final

from bigbatch.errors import InputError, nearest
from bigbatch.reduction.options import ALL_REDUCES, AUTO

LEAST: Final = 1e-6  # bounds of any number that describes a cluster, so that no product of them overflows
MOST: Final = 1e7


@dataclass(frozen=True)
class Cluster:
    """Machines, their links, and how fast they compute.

    Attributes:
        nodes: machines (N).
        devices: of each machine (G); one process runs on each device.
        gbit: gigabits per second of a node's link, in each direction.
        latency_us: microseconds of a message between processes on two nodes, software included.
        local_gbyte: gigabytes per second between two devices of a node.
        local_latency_us: microseconds of a message between two devices of a node.
        images_per_second: of one device alone, at the worker minibatch size, as `bigbatch bench step` measures it.
        jitter: standard deviation of a worker's time, as a part of it.
        bucket_mb: about how large the buffers are, in MiB; 0 for one buffer per parameter.
        all_reduce: the algorithm, or "auto" for the fastest exact one of each buffer.

    Raises:
        InputError: a value is out of its range.
    """

    nodes: int = 1
    devices: int = 8
    gbit: float = 50.0
    latency_us: float = 20.0
    local_gbyte: float = 20.0
    local_latency_us: float = 10.0
    images_per_second: float = 0.0
    jitter: float = 0.0
    bucket_mb: float = 4.0
    all_reduce: str = AUTO

    def __post_init__(self) -> None:
        positive = ("nodes", "devices", "gbit", "local_gbyte")
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name == "all_reduce":
                if value not in ALL_REDUCES:
                    msg = f"cluster: all_reduce '{value}' is unknown; {nearest(value, list(ALL_REDUCES))}"
                    raise InputError(msg)
            elif not value >= 0 or (value == 0 and field.name in positive):
                least = "above 0" if field.name in positive else "at least 0"
                msg = f"cluster: {field.name} must be {least}, not {value}"
                raise InputError(msg)
            elif value and not LEAST <= value <= MOST:
                msg = f"cluster: {field.name} must lie between {LEAST:g} and {MOST:g}, not {value}"
                raise InputError(msg)

    @property
    def byte_seconds(self) -> float:
        """Seconds per byte of a node's link (b)."""
        return 8e-9 / self.gbit

    @property
    def latency(self) -> float:
        """Seconds of a message between nodes (a), or between devices if there is only one node."""
        return 1e-6 * (self.latency_us if self.nodes > 1 else self.local_latency_us)


# The paper's cluster (sections 4 and 5): 8 P100 a server, 50 Gbit, a buffer for each layer. The paper states neither
# the speed of one P100 nor the jitter. Both are fitted to two of its figures: 0.232 s an iteration on 8 GPUs, and 12 %
# more on 352. Its other figures (1 hour, 90 %) are then predicted.
GOYAL_2017: Final = Cluster(
    nodes=32, images_per_second=155.7, jitter=0.089, latency_us=20.0, local_gbyte=16.0, bucket_mb=0.0
)
CLUSTERS: Final = {"goyal2017": GOYAL_2017}


def parse_cluster(text: str) -> Cluster:
    """Return the cluster of `name`, `name,key=value,...` or `key=value,...`.

    Raises:
        InputError: an unknown name or key, or a value that is no number.

    >>> parse_cluster("goyal2017,nodes=44").nodes
    44
    """
    cluster = Cluster()
    for i, part in enumerate(text.split(",")):
        key, equals, value = part.strip().partition("=")
        if not equals and i == 0:
            if key not in CLUSTERS:
                msg = (
                    f"cluster '{key}' is unknown; known: {', '.join(CLUSTERS)}; or give nodes=...,devices=...,gbit=..."
                )
                raise InputError(msg)
            cluster = CLUSTERS[key]
            continue
        kinds: dict[str, type] = {field.name: type(field.default) for field in fields(Cluster)}
        if key not in kinds:
            msg = f"cluster: '{key}' is unknown; {nearest(key, list(kinds))}"
            raise InputError(msg)
        try:
            cluster = replace(cluster, **{key: kinds[key](value)})
        except InputError:
            raise
        except ValueError as error:
            msg = f"cluster: {key} must be a {'whole ' if kinds[key] is int else ''}number, not '{value}'"
            raise InputError(msg) from error
    return cluster


def scales(nodes: int) -> list[int]:
    """Return the numbers of nodes to predict for: the powers of two below, and that number itself.

    >>> scales(44)
    [1, 2, 4, 8, 16, 32, 44]
    """
    return [*(1 << i for i in range(nodes.bit_length()) if 1 << i < nodes), nodes]
