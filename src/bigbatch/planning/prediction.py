"""How long a training would take on a cluster, predicted buffer by buffer.

The gradient is sent in buffers, in the order in which backpropagation fills them. They are summed one after the other,
while the rest of backpropagation goes on. Symbols are those of `all_reduce_cost`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil
from statistics import NormalDist
from typing import Final

from bigbatch.errors import InputError
from bigbatch.planning.all_reduce_cost import all_reduce_seconds
from bigbatch.planning.cluster import Cluster
from bigbatch.reduction.options import bucket_sizes

BACKWARD_SHARE: Final = 2 / 3  # of a worker's time: two products of matrices backward for each forward
MEGABYTE: Final = 1 << 20


@dataclass(frozen=True)
class Prediction:
    """The time of an iteration on a cluster, and of the training.

    Attributes:
        nodes: machines.
        processes: one per device.
        workers_per_process: of the process that has most.
        seconds: of an iteration.
        communication_seconds: of all buffers, one after the other.
        exposed_seconds: of these, the seconds that backpropagation does not hide.
        images_per_second: of the cluster.
        efficiency: images/s, as a part of that of as many separate nodes with one worker on each device.
        hours: of the training; of the shortest one if the gradients decide its length.
        most_hours: of the longest one.
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
    """Predict a training; the iteration that is described is one of the largest minibatch.

    v workers, one after the other, compute for v t seconds. All p processes wait for the slowest of them. Its delay is
    that of the largest of p normal values, so it takes v t + jitter t sqrt(v) z(p), with z(p) after Blom 1958. Buffers
    become ready evenly over the last worker's backward pass, two thirds of t, and are summed one after the other. The
    iteration ends when computation and sums have both ended.

    Args:
        cluster: with images_per_second.
        buffers: bytes of each, in the order in which they become ready.
        updates: how many there are at each minibatch size (kn). If the length is not known there are several such
            counts, the shortest training first.
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
    """Return the seconds of computation, of communication, and of communication that is not hidden."""
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
    """Return the bytes of the buffers that hold gradients of these sizes, in their order.

    Args:
        sizes: bytes of each gradient.
        bucket_mb: MiB after which a buffer is full, but for a smaller first one; 0 for a buffer per gradient.

    >>> into_buckets([1 << 20, 3 << 20, 2 << 20, 1 << 20], bucket_mb=4)
    [1048576, 5242880, 1048576]
    """
    limits = bucket_sizes(sum(sizes), bucket_mb)
    buckets: list[int] = []
    current = 0
    for size in sizes:
        current += size
        if current >= limits[min(len(buckets), len(limits) - 1)] * MEGABYTE:
            buckets.append(current)
            current = 0
    return [*buckets, current] if current else buckets
