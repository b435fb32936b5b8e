"""The time of one buffer's all-reduce on a cluster, for each algorithm.

Symbols: a is the latency of a message (s), b the seconds per byte of a node's link. N nodes of G devices run p = N G
processes, and n is the bytes of a buffer. a' and b' are those between the devices of a node.
"""

from collections.abc import Callable, Mapping
from math import log2
from typing import Final

from bigbatch.planning.cluster import Cluster
from bigbatch.reduction.options import AUTO, NATIVE


def ring(cluster: Cluster, num_bytes: float) -> float:
    """Return the seconds of a ring: 2(p-1) steps of n/p bytes over the slowest link, 2(p-1)(a + b n/p).

    Patarasuk and Yuan 2009; the native all-reduce of Gloo.
    """
    p = cluster.nodes * cluster.devices
    byte_seconds = cluster.byte_seconds if cluster.nodes > 1 else 1e-9 / cluster.local_gbyte
    return 2 * (p - 1) * (cluster.latency + byte_seconds * num_bytes / p)


def halving_doubling(cluster: Cluster, num_bytes: float) -> float:
    """Return the seconds of binary blocks over all processes: 2 s(G) a' + 2 s(N) a + bytes.

    The first steps are inside a node, with 2(G-1)/G n bytes of each device. Then the devices of a node share its link
    for 2(N-1)/N n bytes. s(x) is floor(log2 x), plus one for each further binary block (Thakur, Rabenseifner and Gropp
    2005; arXiv 1706.02677, section 4).
    """
    inside = 2 * _steps(cluster.devices) * 1e-6 * cluster.local_latency_us
    inside += 2 * (cluster.devices - 1) / cluster.devices * num_bytes * 1e-9 / cluster.local_gbyte
    return inside + _between(cluster, num_bytes)


def three_phase(cluster: Cluster, num_bytes: float) -> float:
    """Return the seconds of a sum in each node, binary blocks between nodes, and a broadcast in each node.

    That is 2(a' + (G-1) b' n), and the time between nodes. The leader of a node receives its buffers one after the
    other (arXiv 1706.02677, section 4).
    """
    inside = 0.0
    if cluster.devices > 1:
        transfer = (cluster.devices - 1) * num_bytes * 1e-9 / cluster.local_gbyte
        inside = 2 * (1e-6 * cluster.local_latency_us + transfer)
    return inside + _between(cluster, num_bytes)


def hierarchical(cluster: Cluster, num_bytes: float) -> float:
    """Return the seconds of the same three phases where the devices of a node share the work by slices.

    That is 2(a' + (G-1)/G b' n), and the time between nodes: the slices of a node share its link.
    """
    inside = 0.0
    if cluster.devices > 1:
        transfer = (cluster.devices - 1) / cluster.devices * num_bytes * 1e-9 / cluster.local_gbyte
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
    "hierarchical": hierarchical,
    "native": ring,
}


def all_reduce_seconds(cluster: Cluster, num_bytes: float) -> float:
    """Return the seconds of one buffer, by the cluster's algorithm."""
    if cluster.all_reduce != AUTO:
        return ALGORITHMS[cluster.all_reduce](cluster, num_bytes)
    return min(seconds(cluster, num_bytes) for name, seconds in ALGORITHMS.items() if name != NATIVE)
