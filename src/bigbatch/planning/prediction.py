"""How long a training takes on a cluster: predicted buffer by buffer, before anybody pays for one.

A gradient leaves in buffers, in the order in which backpropagation makes them; each takes the time of its algorithm,
one after the other, while the rest of backpropagation goes on. Symbols as in `all_reduce_cost`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil
from statistics import NormalDist
from typing import Final

from bigbatch.errors import InputError
from bigbatch.planning.all_reduce_cost import all_reduce_seconds
from bigbatch.planning.cluster import Cluster

BACKWARD_SHARE: Final = 2 / 3  # of a worker's time: two products of matrices backward for each forward
MEGABYTE: Final = 1 << 20


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
