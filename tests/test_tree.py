"""The canonical binary tree."""

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from bigbatch.reduction.tree import BinaryCounter, Node, is_node, merge_run, run_of
from bigbatch.rules.sampling import process_workers


def text(left, right):
    return f"({left}+{right})"


def tree_over(k, p, leaves, merge):
    """Evaluate the tree as p processes do: each process its block, then the nodes of all in order."""
    held = []
    for rank in range(p):
        block = process_workers(k, rank=rank, world_size=p)
        held += merge_run([Node(worker, worker + 1, leaves[worker]) for worker in block], k, merge)
    (root,) = merge_run(held, k, merge)
    assert (root.start, root.stop) == (0, k)
    return root.value


def binary_counter(k):
    """Return the tree as the textbook's binary counter makes it: merge equal sizes, at the end fold from the right."""
    sums = []
    for worker in range(k):
        sums.append((1, str(worker)))
        while len(sums) > 1 and sums[-1][0] == sums[-2][0]:
            (size, right), (_, left) = sums.pop(), sums.pop()
            sums.append((2 * size, text(left, right)))
    total = sums.pop()[1]
    while sums:
        total = text(sums.pop()[1], total)
    return total


def test_thirteen_is_eight_plus_four_plus_one():
    assert tree_over(13, 1, [str(i) for i in range(13)], text) == (
        "((((0+1)+(2+3))+((4+5)+(6+7)))+(((8+9)+(10+11))+12))"
    )


@given(st.integers(1, 300))
def test_the_tree_is_that_of_a_binary_counter(k):
    assert tree_over(k, 1, [str(i) for i in range(k)], text) == binary_counter(k)


@given(st.integers(1, 64), st.data())
def test_the_tree_over_any_split_is_the_tree_over_one_process(k, data):
    """As an expression: the same additions of the same terms."""
    leaves = [str(i) for i in range(k)]
    assert tree_over(k, data.draw(st.integers(1, k)), leaves, text) == tree_over(k, 1, leaves, text)


@given(st.integers(1, 33), st.integers(0, 100), st.integers(0, 2**32), st.data())
def test_the_sum_over_any_split_has_the_same_bits(k, size, seed, data):
    leaves = list(np.random.default_rng(seed).standard_normal((k, size), np.float32) * np.float32(1e3))
    split = tree_over(k, data.draw(st.integers(1, k)), leaves, np.add)
    assert split.tobytes() == tree_over(k, 1, leaves, np.add).tobytes()


def test_a_sequential_sum_has_other_bits():
    """The control: the order of additions matters, so the law above could fail."""
    leaves = list(np.random.default_rng(0).standard_normal((16, 1000), np.float32))
    sequential = leaves[0]
    for leaf in leaves[1:]:
        sequential = sequential + leaf
    assert sequential.tobytes() != tree_over(16, 1, leaves, np.add).tobytes()


@given(st.integers(1, 60), st.data())
def test_runs_may_meet_in_any_order(k, data):
    """As binary blocks and node leaders do: neighbours join here and there, until one is left."""
    edges = sorted(data.draw(st.sets(st.integers(1, k - 1))) | {0, k}) if k > 1 else [0, 1]
    runs = [
        merge_run([Node(worker, worker + 1, str(worker)) for worker in range(start, stop)], k, text)
        for start, stop in pairwise(edges)
    ]
    while len(runs) > 1:
        i = data.draw(st.integers(0, len(runs) - 2))
        runs[i : i + 2] = [merge_run(runs[i] + runs[i + 1], k, text)]
    assert [node.value for node in runs[0]] == [binary_counter(k)]


@given(st.integers(1, 200), st.data())
def test_a_run_is_made_of_few_nodes_of_the_tree_that_cover_its_workers(k, data):
    start = data.draw(st.integers(0, k))
    stop = data.draw(st.integers(start, k))
    nodes = run_of(range(start, stop), k)
    assert [worker for node in nodes for worker in range(node.start, node.stop)] == list(range(start, stop))
    assert all(is_node(node.start, node.stop, k) for node in nodes)
    assert len(nodes) <= max(1, 2 * (stop - start).bit_length())


@given(st.integers(1, 300))
def test_a_counter_holds_a_logarithm_of_the_leaves(k):
    counter = BinaryCounter(k, lambda left, right: left + right)
    for worker in range(k):
        counter.push(Node(worker, worker + 1, 1))
        assert len(counter.nodes) <= (worker + 1).bit_length()
    assert counter.take() == [Node(0, k, k)]
