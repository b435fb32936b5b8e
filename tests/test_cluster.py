"""The cost model of a cluster, compared with the paper's measurements."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bigbatch.benchmark.step import gradient_bytes
from bigbatch.errors import InputError
from bigbatch.planning.all_reduce_cost import ALGORITHMS, halving_doubling, ring
from bigbatch.planning.cluster import GOYAL_2017, Cluster, parse_cluster, scales
from bigbatch.planning.prediction import into_buckets, predict
from bigbatch.recipe.presets import imagenet_resnet50

IMAGENET_SAMPLES = 1_281_167


@pytest.fixture(scope="module")
def resnet50():
    return gradient_bytes(imagenet_resnet50())


def paper(resnet50, nodes):
    """Predict the paper's run on a number of its servers: 32 images a GPU, 90 epochs (section 5)."""
    minibatch_size = 256 * nodes
    return predict(
        replace(GOYAL_2017, nodes=nodes),
        into_buckets(resnet50, GOYAL_2017.bucket_mb),
        updates=[{minibatch_size: 90 * (IMAGENET_SAMPLES // minibatch_size)}],
        worker_minibatch_size=32,
    )


def test_the_papers_figures(resnet50):
    """ArXiv 1706.02677: 29 hours on 8 GPUs, 1 hour on 256, 12 % more an iteration on 352, about 90 % efficiency."""
    one, half, most = paper(resnet50, 1), paper(resnet50, 32), paper(resnet50, 44)
    assert sum(resnet50) == pytest.approx(100e6, rel=0.05)  # "approximately 100 MB"
    assert one.hours == pytest.approx(29, rel=0.05)
    assert half.hours == pytest.approx(1, rel=0.05)
    assert most.seconds / one.seconds - 1 == pytest.approx(0.12, rel=0.05)
    assert half.efficiency == pytest.approx(0.9, rel=0.05)
    assert one.images_per_second == pytest.approx(1104, rel=0.05)
    assert half.exposed_seconds < 0.01 * half.seconds, "the sum is hidden: 100 MB in 120 ms need 15 of 50 Gbit (sec. 4)"


def test_halving_and_doubling_is_three_times_as_fast_as_a_ring_at_one_megabyte():
    """On 32 servers it is "3x faster" (section 4) for buffers of about 1 MB; for 100 MB it gains little."""
    servers = Cluster(nodes=32, devices=1)
    gains = {size: ring(servers, size) / halving_doubling(servers, size) for size in (6e4, 1e6, 100e6)}
    assert gains[1e6] == pytest.approx(3.0, rel=0.05)
    assert gains[6e4] > 5
    assert gains[100e6] < 1.05


@given(st.sampled_from(sorted(ALGORITHMS)), st.integers(1, 64), st.integers(1, 8), st.floats(1, 1e9))
def test_more_bytes_and_slower_links_never_take_less_time(name, nodes, devices, size):
    cluster = Cluster(nodes=nodes, devices=devices)
    seconds = ALGORITHMS[name]
    assert 0 <= seconds(cluster, size) <= seconds(cluster, 2 * size)
    assert seconds(cluster, size) <= seconds(replace(cluster, gbit=cluster.gbit / 2), size)
    assert seconds(cluster, size) <= seconds(replace(cluster, latency_us=100.0, local_latency_us=100.0), size)


def test_what_cannot_be_hidden_is_added():
    """A single buffer is ready when backpropagation ends, so none of its time is hidden. With many, nearly all is."""
    cluster = Cluster(nodes=2, devices=1, images_per_second=32.0, gbit=8.0, latency_us=0.0, all_reduce="native")
    sizes = {"updates": [{64: 3600}], "worker_minibatch_size": 32}
    whole, parts = predict(cluster, [1e8], **sizes), predict(cluster, [1e6] * 100, **sizes)
    assert whole.seconds == pytest.approx(1.1)  # 1 s of computation, 2(p-1)/p of 0.1 GB at 1 GB/s
    assert whole.exposed_seconds == pytest.approx(0.1)
    assert parts.seconds == pytest.approx(1.001)
    assert whole.hours == pytest.approx(1.1)


def test_each_minibatch_size_takes_its_own_time_and_the_smallest_must_have_work_for_all():
    """Two processes, a worker of 32 takes a second: 64 samples one second, 256 four; nothing to send."""
    cluster = Cluster(nodes=1, devices=2, images_per_second=32.0)
    grows = predict(cluster, [], updates=[{64: 900, 256: 900}], worker_minibatch_size=32)
    assert (grows.seconds, grows.hours, grows.most_hours) == pytest.approx((4.0, 1.25, 1.25))
    either = predict(cluster, [], updates=[{256: 900}, {64: 7200}], worker_minibatch_size=32)
    assert (either.hours, either.most_hours) == pytest.approx((1.0, 2.0))
    with pytest.raises(InputError, match="1 nodes x 2 devices are more than the 1 workers of a minibatch of 32"):
        predict(cluster, [], updates=[{256: 900, 32: 1}], worker_minibatch_size=32)


def test_buckets_keep_the_order_and_the_bytes(resnet50):
    for size in (0, 0.0625, 4, 1000):
        assert sum(into_buckets(resnet50, size)) == sum(resnet50)
    assert into_buckets(resnet50, 0) == resnet50
    assert len(into_buckets(resnet50, 1000)) == 1


def test_wrong_clusters_are_refused():
    for text, complaint in {
        "nodez=3": "'nodez' is unknown; did you mean 'nodes'",
        "goyal2018": "cluster 'goyal2018' is unknown; known: goyal2017",
        "nodes=0": "nodes must be above 0, not 0",
        "nodes=2.5": "nodes must be a whole number, not '2.5'",
        "gbit=fast": "gbit must be a number, not 'fast'",
        "gbit=nan": "gbit must be above 0, not nan",
        "latency_us=-1": "latency_us must be at least 0, not -1",
        "all_reduce=tree": "all_reduce 'tree' is unknown; known are: auto, ",
    }.items():
        with pytest.raises(InputError, match=complaint):
            parse_cluster(text)
    with pytest.raises(InputError, match="give images_per_second"):
        predict(Cluster(), [1.0], updates=[{256: 1}], worker_minibatch_size=32)
    with pytest.raises(InputError, match="2 nodes x 8 devices are more than the 8 workers"):
        predict(GOYAL_2017_ON_2, [1.0], updates=[{256: 1}], worker_minibatch_size=32)


GOYAL_2017_ON_2 = replace(GOYAL_2017, nodes=2)


def test_the_command_prints_the_table_and_draws(bigbatch, tmp_path):
    arguments = ("plan", "imagenet-resnet50", "--minibatch-size", 8192, "--cluster", "goyal2017", "--figure", "c.png")
    done = bigbatch(*arguments)
    assert done.returncode == 0, done.stderr
    assert "32         256              1        0.2571" in done.stdout
    assert "90.1%    1.00" in done.stdout
    assert (tmp_path / "c.png").read_bytes().startswith(b"\x89PNG")
    table = json.loads(bigbatch(*arguments, "--json").stdout)
    assert [row["nodes"] for row in table["cluster"]] == scales(32) == [1, 2, 4, 8, 16, 32]
    for wrong in (
        ("plan", "digits", "--figure", "c.png"),
        ("plan", "digits", "--cluster", "nodes=2"),
        ("plan", "imagenet-resnet50", "--cluster", "goyal2017"),
    ):
        done = bigbatch(*wrong)
        assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
