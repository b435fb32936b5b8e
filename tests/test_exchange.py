"""Every exact algorithm over any number of processes: the bits of the local tree. A ring, the control: other bits."""

from functools import partial
from itertools import product
from threading import Thread

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bigbatch.errors import PeerLostError
from bigbatch.reduction.exchange import Exchange
from bigbatch.reduction.in_memory import InMemoryTransport
from bigbatch.reduction.options import EXACT_ALGORITHMS
from bigbatch.reduction.schedules.direct import direct
from bigbatch.reduction.schedules.halving_doubling import binary_blocks
from bigbatch.reduction.schedules.three_phase import three_phase
from bigbatch.reduction.tree import Node, merge_run
from bigbatch.rules.sampling import process_workers

WORLD_SIZES = (1, 2, 3, 4, 5, 6, 7, 8, 9, 13, 16, 32)
COUNTS = (0, 1, 7, 64, 1000, 100_003)
DTYPES = (torch.float32, torch.bfloat16, torch.float64)
CHUNK_BYTES = 1 << 17  # so that the largest count makes several chunks


def nodes_of(p, size):
    return [range(start, min(start + size, p)) for start in range(0, p, size)]


def slicing_nodes_of(p):
    """Return nodes of 3 processes each, and what is left in the last one: 13 = 3 + 3 + 3 + 4."""
    *nodes, last = nodes_of(p, 3)
    return [*nodes, last] if len(last) == 3 or not nodes else [*nodes[:-1], range(nodes[-1].start, p)]


def make_schedule(name, p):
    """Return the algorithm; the last two over nodes of at least 3 processes, where there are as many."""
    return {
        "halving-doubling": partial(binary_blocks, nodes_of(p, 1)),
        "direct": partial(direct, p),
        "three-phase": partial(three_phase, nodes_of(p, 3), 1),
        "hierarchical": partial(three_phase, slicing_nodes_of(p), min(map(len, slicing_nodes_of(p)))),
    }[name]


def run_as_threads(p, program):
    """Run program(rank) for every rank at once, and return the results in order; the first error is raised."""
    results, errors = [None] * p, []

    def run(rank):
        try:
            results[rank] = program(rank)
        except BaseException as error:  # noqa: BLE001 - raised below
            errors.append(error)

    threads = [Thread(target=run, args=(rank,)) for rank in range(p)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return results


def leaves(k, count, dtype, seed=0):
    """Return one leaf a worker, of very different sizes, so that the order of additions shows."""
    generator = torch.Generator().manual_seed(seed)
    return [(torch.randn(count, generator=generator) * 10.0 ** (worker % 7 - 3)).to(dtype) for worker in range(k)]


def partial_sums(terms, workers):
    return merge_run([Node(w, w + 1, terms[w].clone()) for w in workers], len(terms), torch.Tensor.add_)


def all_reduce(name, p, cases, chunk_bytes=CHUNK_BYTES):
    """Return each rank's totals of all cases, each a list of one leaf a worker; k is the same in all."""
    k = len(cases[0])
    blocks = [process_workers(k, rank=rank, world_size=p) for rank in range(p)]
    transports = InMemoryTransport.connect(p)

    def program(rank):
        exchange = Exchange(make_schedule(name, p), transports[rank], blocks, chunk_bytes=chunk_bytes)
        totals = []
        for number, terms in enumerate(cases):
            nodes = partial_sums(terms, blocks[rank])
            # The total may go into a buffer of its own or into one of the nodes'.
            out = nodes[-1].value if number % 2 else torch.full_like(terms[0], torch.nan)
            exchange(nodes, out)
            totals.append(out)
        return totals

    return run_as_threads(p, program)


@pytest.mark.parametrize("p", WORLD_SIZES)
@pytest.mark.parametrize("name", EXACT_ALGORITHMS)
def test_every_algorithm_has_the_bits_of_the_local_tree(name, p):
    """For workers that divide evenly (v a power of two and not) and that do not."""
    for k in (p, 3 * p, 2 * p + 1):
        cases = [leaves(k, count, dtype) for count, dtype in product(COUNTS, DTYPES)]
        expected = [partial_sums(terms, range(k))[0].value for terms in cases]
        for rank, totals in enumerate(all_reduce(name, p, cases)):
            for total, want in zip(totals, expected, strict=True):
                assert torch.equal(total, want), (rank, k, want.numel(), want.dtype)


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(EXACT_ALGORITHMS),
    st.integers(1, 9),
    st.integers(0, 20),
    st.integers(0, 300),
    st.integers(1, 400),
    st.integers(0, 2**32),
)
def test_whatever_the_workers_the_sizes_and_the_chunks(name, p, extra, count, chunk_bytes, seed):
    terms = leaves(p + extra, count, torch.float32, seed)
    want = partial_sums(terms, range(p + extra))[0].value
    for totals in all_reduce(name, p, [terms], chunk_bytes):
        assert torch.equal(totals[0], want)


def ring(transport, buffer):
    """Sum by the ring: p-1 steps of reduce-scatter, p-1 of all-gather."""
    p, rank = transport.world_size, transport.rank
    edges = [buffer.numel() * i // p for i in range(p + 1)]
    slices = [buffer[edges[i] : edges[i + 1]] for i in range(p)]
    for step in range(2 * (p - 1)):
        received = torch.empty_like(slices[(rank - step - 1) % p])
        pending = transport.receive(received, (rank - 1) % p)
        transport.send(slices[(rank - step) % p], (rank + 1) % p).wait()
        pending.wait()
        place = slices[(rank - step - 1) % p]
        place.copy_(place + received if step < p - 1 else received)
    return buffer


def test_the_control_a_ring_has_other_bits():
    """The sum is the same, but the slices of a buffer start at different ranks, so its bits depend on the layout."""
    for p in (4, 8, 13):
        terms = leaves(p, 1000, torch.float32)
        want = partial_sums(terms, range(p))[0].value
        transports = InMemoryTransport.connect(p)
        totals = run_as_threads(p, lambda rank, transports=transports, terms=terms: ring(transports[rank], terms[rank]))
        assert all(torch.equal(total, totals[0]) for total in totals)
        assert not torch.equal(totals[0], want)
        torch.testing.assert_close(totals[0], want, rtol=1e-3, atol=1e-2)


@pytest.mark.parametrize("name", EXACT_ALGORITHMS)
@pytest.mark.parametrize("p", WORLD_SIZES)
def test_what_one_sends_another_receives_in_the_same_order(name, p):
    schedules = [make_schedule(name, p)(rank, 5, 1003) for rank in range(p)]
    rounds = [[*schedule.partial, *schedule.total] for schedule in schedules]
    assert len({(len(schedule.partial), len(schedule.total)) for schedule in schedules}) == 1
    for number in range(len(rounds[0])):
        sent = [(r, m.peer, m.start, m.stop) for r in range(p) for m in rounds[r][number].sends]
        received = [(m.peer, r, m.start, m.stop) for r in range(p) for m in rounds[r][number].receives]
        assert sorted(sent) == sorted(received)
        assert len({(source, to) for source, to, _, _ in sent}) == len(sent)


@pytest.mark.parametrize("p", [2, 4, 8, 16, 32])
def test_halving_and_doubling_sends_what_a_ring_sends_in_a_logarithm_of_steps(p):
    """Each process sends 2(p-1)/p of the buffer, in 2 log2(p) steps (arXiv 1706.02677, section 4)."""
    for name, num_rounds in (("halving-doubling", 2 * (p.bit_length() - 1)), ("direct", 2)):
        for rank in range(p):
            schedule = make_schedule(name, p)(rank, 0, 32 * 7)
            rounds = [*schedule.partial, *schedule.total]
            assert len(rounds) == num_rounds
            assert sum(m.stop - m.start for round_ in rounds for m in round_.sends) == 2 * (p - 1) * 32 * 7 // p


def test_only_leaders_cross_the_network_in_three_phases():
    nodes = nodes_of(13, 4)
    home = {rank: i for i, ranks in enumerate(nodes) for rank in ranks}
    for rank in range(13):
        schedule = three_phase(nodes, 1, rank, 0, 100)
        peers = {m.peer for round_ in (*schedule.partial, *schedule.total) for m in round_.sends}
        assert all(home[peer] == home[rank] or (rank % 4 == 0 and peer % 4 == 0) for peer in peers)


def test_each_slice_crosses_the_network_between_its_owners_and_none_twice():
    """13 processes on nodes of 4, 4 and 5: three owners meet for each of the 4 slices; the fifth has none."""
    nodes = [range(4), range(4, 8), range(8, 13)]
    place = {rank: (i, rank - ranks.start) for i, ranks in enumerate(nodes) for rank in ranks}
    crossed = dict.fromkeys(range(3), 0)
    for rank in range(13):
        schedule = three_phase(nodes, 4, rank, 0, 96)
        for message in (m for round_ in (*schedule.partial, *schedule.total) for m in round_.sends):
            (here, own), (there, other) = place[rank], place[message.peer]
            assert here == there or own == other < 4
            crossed[here] += (message.stop - message.start) * (here != there)
    leaders = [three_phase(nodes, 1, ranks.start, 0, 96) for ranks in nodes]
    for node, schedule in enumerate(leaders):
        sends = [m for round_ in (*schedule.partial, *schedule.total) for m in round_.sends]
        assert crossed[node] == sum(m.stop - m.start for m in sends if m.peer not in nodes[node])


def test_an_exchange_reuses_what_it_receives_into():
    transports = InMemoryTransport.connect(2)
    blocks = [range(2), range(2, 4)]
    exchanges = [Exchange(make_schedule("direct", 2), transport, blocks) for transport in transports]
    terms = leaves(4, 1000, torch.float32)
    places = set()
    for _ in range(3):

        def program(rank):
            nodes = partial_sums(terms, blocks[rank])
            exchanges[rank](nodes, nodes[0].value)

        run_as_threads(2, program)
        places.add(tuple(exchange.scratch[torch.float32].data_ptr() for exchange in exchanges))
    assert len(places) == 1
    assert all(exchange.scratch[torch.float32].numel() == 500 for exchange in exchanges)


def test_a_peer_that_never_answers_ends_the_exchange():
    transport = InMemoryTransport.connect(2, timeout_seconds=0.05)[0]
    exchange = Exchange(make_schedule("direct", 2), transport, [range(1), range(1, 2)])
    with pytest.raises(PeerLostError, match="no message came within the timeout"):
        exchange([Node(0, 1, torch.ones(8))], torch.zeros(8))
