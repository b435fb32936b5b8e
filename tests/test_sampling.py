"""One shuffle per epoch, divided among the workers; no rank enters."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bigbatch.errors import InputError
from bigbatch.rules.sampling import Sampling, check_minibatch_size, permutation, process_workers


@st.composite
def samplings(draw):
    n, k = draw(st.integers(1, 7)), draw(st.integers(1, 13))
    return Sampling(draw(st.integers(n * k, 8 * n * k)), n * k, n, draw(st.integers(0, 2**63 - 1)))


@given(samplings(), st.integers(0, 5), st.data())
def test_the_union_over_processes_is_the_minibatch_and_an_epoch_visits_a_sample_at_most_once(sampling, epoch, data):
    p = data.draw(st.integers(1, sampling.worker_count))
    streams = [
        list(sampling.epoch(epoch, process_workers(sampling.worker_count, rank=rank, world_size=p)))
        for rank in range(p)
    ]
    order = permutation(sampling.num_samples, seed=sampling.seed, epoch=epoch)
    visited = []
    for iteration in range(sampling.iterations_per_epoch):
        minibatch = []
        for rank, stream in enumerate(streams):
            v = len(process_workers(sampling.worker_count, rank=rank, world_size=p))
            minibatch += [i for block in stream[iteration * v : (iteration + 1) * v] for i in block.indices.tolist()]
        start = iteration * sampling.minibatch_size
        assert minibatch == order[start : start + sampling.minibatch_size].tolist()
        visited += minibatch
    assert len(visited) == len(set(visited)) == sampling.num_samples - sampling.num_dropped
    assert sampling.num_dropped < sampling.minibatch_size


@given(samplings(), st.data())
def test_an_epoch_can_start_at_any_iteration(sampling, data):
    first = data.draw(st.integers(0, sampling.iterations_per_epoch))
    workers = range(sampling.worker_count)
    whole = list(sampling.epoch(1, workers))
    rest = list(sampling.epoch(1, workers, first=first))
    assert [b.indices.tolist() for b in rest] == [b.indices.tolist() for b in whole[first * len(workers) :]]


@given(st.integers(1, 300), st.integers(0, 2**63 - 1), st.integers(0, 100))
def test_a_permutation_is_one_and_depends_on_seed_and_epoch(num_samples, seed, epoch):
    order = permutation(num_samples, seed=seed, epoch=epoch)
    assert sorted(order.tolist()) == list(range(num_samples))
    assert np.array_equal(order, permutation(num_samples, seed=seed, epoch=epoch))


def test_epochs_and_seeds_differ_and_every_place_is_equally_likely():
    orders = np.array([permutation(10, seed=0, epoch=epoch) for epoch in range(4000)])
    counts = np.array([np.bincount(orders[:, place], minlength=10) for place in range(10)])
    assert np.abs(counts - 400).max() < 5 * np.sqrt(400)
    assert not np.array_equal(permutation(100, seed=0, epoch=0), permutation(100, seed=1, epoch=0))


def test_a_permutation_is_pinned():
    """The order is a promise across versions: a change here changes every result."""
    assert permutation(8, seed=0, epoch=0).tolist() == [1, 4, 2, 0, 6, 5, 7, 3]


@given(st.integers(1, 64), st.data())
def test_worker_blocks_are_contiguous_and_even(k, data):
    p = data.draw(st.integers(1, k))
    blocks = [process_workers(k, rank=rank, world_size=p) for rank in range(p)]
    assert [worker for block in blocks for worker in block] == list(range(k))
    assert max(map(len, blocks)) - min(map(len, blocks)) <= 1


@pytest.mark.parametrize(
    ("minibatch", "worker", "message"),
    [
        (8190, 32, "minibatch_size 8190 is not divisible by worker_minibatch_size 32; the nearest are 8160 and 8192"),
        (16, 32, "minibatch_size 16 is smaller than worker_minibatch_size 32; the smallest possible is 32"),
        (16, 0, "worker_minibatch_size must be at least 1, not 0"),
        (-4, 2, "minibatch_size -4 is smaller than worker_minibatch_size 2; the smallest possible is 2"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(minibatch, worker, message):
    with pytest.raises(InputError) as error:
        check_minibatch_size(minibatch, worker)
    assert str(error.value) == message


def test_a_minibatch_larger_than_the_data_and_more_processes_than_workers_are_refused():
    with pytest.raises(InputError, match="larger than the data set of 100 samples; the largest possible is 96"):
        Sampling(100, 128, 32)
    with pytest.raises(InputError, match="9 processes are more than the 8 workers"):
        process_workers(8, rank=0, world_size=9)
