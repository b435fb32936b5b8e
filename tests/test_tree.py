"""The canonical binary tree."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from bigbatch.reduction.tree import BinaryCounter, Node, perfect_nodes
from bigbatch.sampling import worker_block


def text(left, right):
    return f"({left}+{right})"


def tree_over(k, p, leaves, merge):
    """Evaluate the tree as p processes do: each its own block, then the nodes of all in order."""
    upper = BinaryCounter(merge)
    for rank in range(p):
        counter = BinaryCounter(merge)
        for worker in worker_block(k, rank=rank, world_size=p):
            counter.push(Node(worker, 1, leaves[worker]))
        for node in counter.take():
            upper.push(node)
    return upper.fold()


def test_thirteen_is_eight_plus_four_plus_one():
    assert tree_over(13, 1, [str(i) for i in range(13)], text) == (
        "((((0+1)+(2+3))+((4+5)+(6+7)))+(((8+9)+(10+11))+12))"
    )


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


@given(st.integers(0, 200), st.integers(0, 200))
def test_perfect_nodes_cover_a_block_with_aligned_powers_of_two(start, length):
    nodes = perfect_nodes(range(start, start + length))
    assert [w for node in nodes for w in range(node.start, node.start + node.size)] == list(
        range(start, start + length)
    )
    assert all(node.size & (node.size - 1) == 0 and node.start % node.size == 0 for node in nodes)


@given(st.integers(1, 300))
def test_a_counter_holds_a_logarithm_of_the_leaves(k):
    counter = BinaryCounter(lambda left, right: left + right)
    for worker in range(k):
        counter.push(Node(worker, 1, 1))
        assert len(counter.nodes) <= (worker + 1).bit_length()
    assert counter.fold() == k
