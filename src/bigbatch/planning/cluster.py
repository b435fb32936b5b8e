"""How long an iteration takes on a cluster: predicted buffer by buffer, before anybody pays for one. Without torch.

Symbols: a latency of a message (s), b seconds per byte of a node's link, G devices a node, N nodes, p = N G processes,
n bytes of a buffer. A gradient leaves in buffers, in the order in which backpropagation makes them; each takes the
time of its algorithm, one after the other, while the rest of backpropagation goes on.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from math import ceil, log2
from statistics import NormalDist
from typing import Final

from bigbatch.errors import InputError, nearest

BACKWARD_SHARE: Final = 2 / 3  # of a worker's time: two products of matrices backward for each forward
MEGABYTE: Final = 1 << 20
LEAST: Final = 1e-6  # of any number that describes a cluster: no product of them overflows
MOST: Final = 1e7


@dataclass(frozen=True)
class Cluster:
    """Machines and what they compute.

    Attributes:
        nodes: machines (N).
        devices: of each (G); one process a device.
        gbit: per second, of a node's link in each direction.
        latency_us: microseconds from one process to another on another node, software included.
        local_gbyte: per second, between two devices of a node.
        local_latency_us: microseconds between two devices of a node.
        images_per_second: of one device alone on this model at the worker minibatch size (as `bench step` measures).
        jitter: standard deviation of a worker's time, as a part of it.
        bucket_mb: about how large the buffers are, in MiB; 0 for one a parameter.
        all_reduce: the algorithm, or "auto" for the fastest exact one of each buffer.

    Raises:
        InputError: a value that cannot be.
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
    all_reduce: str = "auto"

    def __post_init__(self) -> None:
        positive = ("nodes", "devices", "gbit", "local_gbyte")
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name == "all_reduce":
                if value not in {"auto", *ALGORITHMS}:
                    msg = f"cluster: all_reduce '{value}' is unknown; {nearest(value, ['auto', *ALGORITHMS])}"
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
        """Seconds of a message between nodes (a); between devices where there is one node."""
        return 1e-6 * (self.latency_us if self.nodes > 1 else self.local_latency_us)


def ring(cluster: Cluster, num_bytes: float) -> float:
    """Return the seconds of a ring: 2(p-1) steps of n/p, at the pace of the slowest link: 2(p-1)(a + b n/p).

    Patarasuk and Yuan 2009; the native all-reduce of Gloo.
    """
    p = cluster.nodes * cluster.devices
    byte_seconds = cluster.byte_seconds if cluster.nodes > 1 else 1e-9 / cluster.local_gbyte
    return 2 * (p - 1) * (cluster.latency + byte_seconds * num_bytes / p)


def halving_doubling(cluster: Cluster, num_bytes: float) -> float:
    """Return the seconds of binary blocks over all processes: 2 s(G) a' + 2 s(N) a + bytes.

    The first steps are inside a node, 2(G-1)/G n bytes of each device; then the devices of a node share its link,
    2(N-1)/N n bytes over it. s(x) = floor(log2 x), and one more for each further binary block (Thakur, Rabenseifner and
    Gropp 2005; arXiv 1706.02677, section 4).
    """
    inside = 2 * _steps(cluster.devices) * 1e-6 * cluster.local_latency_us
    inside += 2 * (cluster.devices - 1) / cluster.devices * num_bytes * 1e-9 / cluster.local_gbyte
    return inside + _between(cluster, num_bytes)


def three_phase(cluster: Cluster, num_bytes: float) -> float:
    """Return the seconds of sum inside, binary blocks between, broadcast inside: 2(a' + (G-1) b' n) + between.

    A leader takes the buffers of its node one after the other (arXiv 1706.02677, section 4).
    """
    inside = 0.0
    if cluster.devices > 1:
        transfer = (cluster.devices - 1) * num_bytes * 1e-9 / cluster.local_gbyte
        inside = 2 * (1e-6 * cluster.local_latency_us + transfer)
    return inside + _between(cluster, num_bytes)


def direct(cluster: Cluster, num_bytes: float) -> float:
    """Return the seconds of all-to-all and all-gather: 2 a + 2 (p-G)/p n b for each of a node's G devices."""
    p = cluster.nodes * cluster.devices
    if cluster.nodes == 1:
        return 2 * cluster.latency + 2 * (p - 1) / p * num_bytes * 1e-9 / cluster.local_gbyte
    return 2 * cluster.latency + 2 * (p - cluster.devices) / p * num_bytes * cluster.devices * cluster.byte_seconds


def _between(cluster: Cluster, num_bytes: float) -> float:
    if cluster.nodes == 1:
        return 0.0
    steps = 2 * _steps(cluster.nodes) * 1e-6 * cluster.latency_us
    return steps + 2 * (cluster.nodes - 1) / cluster.nodes * num_bytes * cluster.byte_seconds


def _steps(members: int) -> int:
    return int(log2(members)) + members.bit_count() - 1


ALGORITHMS: Final[Mapping[str, Callable[[Cluster, float], float]]] = {
    "halving-doubling": halving_doubling,
    "direct": direct,
    "three-phase": three_phase,
    "native": ring,
}

# The paper's cluster (sections 4 and 5): 8 P100 a server, 50 Gbit, a buffer for each layer. It states neither the
# speed of one P100 nor the jitter: they are fitted to two of its figures, 0.232 s an iteration on 8 GPUs and 12 % more
# on 352; the others (1 hour, 90 %) are then predicted.
GOYAL_2017: Final = Cluster(
    nodes=32, images_per_second=155.7, jitter=0.089, latency_us=20.0, local_gbyte=16.0, bucket_mb=0.0
)
CLUSTERS: Final = {"goyal2017": GOYAL_2017}


@dataclass(frozen=True)
class Prediction:
    """An iteration on a cluster, and what follows from it.

    Attributes:
        nodes: machines.
        processes: one a device.
        workers_per_process: at most.
        seconds: of an iteration.
        communication_seconds: of all buffers, one after the other.
        exposed_seconds: of that, what is not hidden behind backpropagation.
        images_per_second: of the cluster.
        efficiency: images/s, as a part of what the devices would compute if each were alone on a node's worth of them.
        hours: of the training; of the shortest, where the gradients will decide.
        most_hours: of the longest then.
    """

    nodes: int
    processes: int
    workers_per_process: int
    seconds: float
    communication_seconds: float
    exposed_seconds: float
    images_per_second: float
    efficiency: float
    hours: float
    most_hours: float


def predict(
    cluster: Cluster,
    buffers: Sequence[float],
    *,
    updates: Sequence[Mapping[int, int]],
    worker_minibatch_size: int,
) -> Prediction:
    """Predict a training; an iteration, and what follows from it, is that of its largest minibatch.

    The compute time of v workers, one after the other, is v t; all wait for the slowest of p processes, whose
    jitter is that of the largest of p normal values: v t + jitter t sqrt(v) z(p), z(p) after Blom 1958. Buffers become
    ready evenly over the last worker's backward pass, two thirds of t, and are summed one after the other; the
    iteration ends when both have ended.

    Args:
        cluster: with images_per_second.
        buffers: bytes of each, in the order in which they become ready.
        updates: how many there are at each minibatch size (kn); several such counts where the training may be one or
            the other, the shortest first.
        worker_minibatch_size: samples of one worker (n).

    Raises:
        InputError: more processes than workers, or no images_per_second.
    """
    sizes = sorted({size for counts in updates for size in counts})
    processes, minibatch_size = cluster.nodes * cluster.devices, sizes[-1]
    _check_workers(cluster, sizes[0], worker_minibatch_size)
    if not cluster.images_per_second:
        msg = "cluster: give images_per_second, of one device, as `bigbatch bench step` measures it"
        raise InputError(msg)
    iterations = {
        size: _iteration(cluster, buffers, size // worker_minibatch_size, worker_minibatch_size) for size in sizes
    }
    compute, communication, exposed = iterations[minibatch_size]
    seconds = compute + exposed
    hours = [
        sum(count * (iterations[size][0] + iterations[size][2]) for size, count in counts.items()) / 3600
        for counts in updates
    ]
    node = replace(cluster, nodes=1)
    alone = sum(_iteration(node, buffers, cluster.devices, worker_minibatch_size)[::2])
    images_per_second = minibatch_size / seconds
    return Prediction(
        nodes=cluster.nodes,
        processes=processes,
        workers_per_process=ceil(minibatch_size // worker_minibatch_size / processes),
        seconds=seconds,
        communication_seconds=communication,
        exposed_seconds=exposed,
        images_per_second=images_per_second,
        efficiency=images_per_second / (processes * worker_minibatch_size / alone),
        hours=hours[0],
        most_hours=hours[-1],
    )


def _check_workers(cluster: Cluster, minibatch_size: int, worker_minibatch_size: int) -> None:
    """Refuse more processes than the smallest minibatch has workers."""
    worker_count = minibatch_size // worker_minibatch_size
    if cluster.nodes * cluster.devices > worker_count:
        most = worker_count // cluster.devices
        way_out = f"use at most {most} nodes, or a larger one" if most else "use a larger one, or fewer devices"
        msg = (
            f"cluster: {cluster.nodes} nodes x {cluster.devices} devices are more than the {worker_count} workers of "
            f"a minibatch of {minibatch_size}; {way_out}"
        )
        raise InputError(msg)


def _iteration(
    cluster: Cluster, buffers: Sequence[float], worker_count: int, worker_minibatch_size: int
) -> tuple[float, float, float]:
    """Return the seconds of computation, of communication, and of what of the latter is not hidden."""
    processes = cluster.nodes * cluster.devices
    workers = ceil(worker_count / processes)
    worker_seconds = worker_minibatch_size / cluster.images_per_second
    largest = NormalDist().inv_cdf((processes - 0.375) / (processes + 0.25)) if processes > 1 else 0.0
    compute = worker_seconds * (workers + cluster.jitter * workers**0.5 * largest)
    if processes == 1:
        return compute, 0.0, 0.0
    times = [all_reduce_seconds(cluster, num_bytes) for num_bytes in buffers]
    end = backward_start = compute - BACKWARD_SHARE * worker_seconds
    for place, seconds in enumerate(times, 1):
        ready = backward_start + BACKWARD_SHARE * worker_seconds * place / len(times)
        end = max(end, ready) + seconds
    return compute, sum(times), max(0.0, end - compute)


def all_reduce_seconds(cluster: Cluster, num_bytes: float) -> float:
    """Return the seconds of one buffer, by the cluster's algorithm."""
    if cluster.all_reduce != "auto":
        return ALGORITHMS[cluster.all_reduce](cluster, num_bytes)
    return min(seconds(cluster, num_bytes) for name, seconds in ALGORITHMS.items() if name != "native")


def into_buckets(sizes: Sequence[int], bucket_mb: float) -> list[int]:
    """Return the bytes of the buffers that gradients of these bytes make, in their order; with 0, one each.

    >>> into_buckets([3 << 20, 2 << 20, 1 << 20], bucket_mb=4)
    [5242880, 1048576]
    """
    buckets, current = [], 0
    for size in sizes:
        current += size
        if current >= bucket_mb * MEGABYTE:
            buckets.append(current)
            current = 0
    return [*buckets, current] if current else buckets


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
