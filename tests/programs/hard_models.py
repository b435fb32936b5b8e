"""Models and losses that other people's projects have, and what a step must give for each, in `CASES`.

It is right for any number of processes, or says in one line, for any number of them, what to do.
"""

import copy
import random
import warnings
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from hashlib import sha256
from unittest import mock

import numpy as np
import torch
import torch.distributed as dist
from torch import nn
from torch.nn import functional
from torch.nn.utils import parametrizations, prune
from torch.utils.checkpoint import checkpoint

from bigbatch.errors import InputError
from bigbatch.processes.group import Processes, as_bytes, dense_parts
from bigbatch.reduction.options import AggregationOptions
from bigbatch.step.step import Step

NUM_FEATURES, NUM_CLASSES = 6, 3
LOSS = nn.CrossEntropyLoss(reduction="none")


class Around(nn.Module):
    """A linear model with something in front."""

    def __init__(self, inner):
        super().__init__()
        self.inner, self.last = inner, nn.Linear(NUM_FEATURES, NUM_CLASSES)

    def forward(self, x):
        """Return the logits."""
        return self.last(self.inner(x))


class Acts(nn.Module):
    """A layer that does something to its input and to itself, with the buffers that it is given."""

    def __init__(self, act, *, persistent=True, **buffers):
        super().__init__()
        self.act = (act,)
        for name, value in buffers.items():
            self.register_buffer(name, value, persistent=persistent)

    def forward(self, x):
        """Return what `act` makes of this layer and its input."""
        return self.act[0](self, x)


def layer(act, **buffers):
    """Return what makes a model around such a layer; the buffers are copied."""
    return lambda: Around(Acts(act, **copy.deepcopy(buffers)))


# ---- layers that are right


def forces(self, x):
    """Feed the derivative of an energy, as networks for molecules and physics do."""
    x = x.detach().requires_grad_()
    energy = (x**2 * self.scale + x.sin()).sum()
    return torch.autograd.grad(energy, x, create_graph=True)[0]


class Forces(nn.Module):
    """Both energies and forces train: the derivative goes through the parameters."""

    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(NUM_FEATURES, 8), nn.Tanh(), nn.Linear(8, 1))
        self.last = nn.Linear(NUM_FEATURES, NUM_CLASSES)

    def forward(self, x):
        """Return logits of the forces."""
        x = x.requires_grad_()
        return self.last(torch.autograd.grad(self.net(x).sum(), x, create_graph=True)[0])


class Penalised(nn.Module):
    """Returns its input with its output, for a gradient penalty in the loss."""

    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(NUM_FEATURES, 8), nn.Tanh(), nn.Linear(8, NUM_CLASSES))

    def forward(self, x):
        """Return (logits, inputs)."""
        x = x.detach().requires_grad_()
        return self.net(x), x


def penalty(outputs, targets):
    """Return the losses with a penalty on the derivative by the inputs."""
    logits, x = outputs
    (slope,) = torch.autograd.grad(logits.sum(), x, create_graph=True)
    return LOSS(logits, targets) + slope.square().sum(1)


def counts(self, x):
    """Count the passes in place."""
    self.steps += 1
    return x / (1 + self.steps)


def counts_anew(self, x):
    """Count the passes in another tensor each time."""
    self.steps = self.steps + 1
    return x / (1 + self.steps)


def points(self, x):
    """Move a pointer, as queues do, and set a flag."""
    self.pointer[0] = (int(self.pointer) + len(x)) % 7
    self.used.fill_(True)  # noqa: FBT003 - torch's own
    return x * (1 + self.pointer)


def anneals(self, x):
    """Cool a temperature that its weights do not depend on."""
    self.temperature *= 0.9
    return x / self.temperature


def caches(self, x):
    """Make a table at first use, as rotary embeddings do."""
    if not hasattr(self, "table"):
        self.register_buffer("table", torch.arange(x.shape[1]).cos(), persistent=False)
    return x * self.table


def fills(self, x):
    """Fill a place that was left empty."""
    if self.table is None:
        self.table = torch.arange(x.shape[1]).cos()
    return x * self.table


def grows(self, x):
    """Replace a table by a longer one."""
    if len(self.table) < x.shape[1]:
        self.register_buffer("table", torch.arange(x.shape[1]).cos())
    return x * self.table


def writes_to_its_input(self, x):
    """Normalise in place."""
    del self
    return x.sub_(x.mean(1, keepdim=True)).mul_(3)


def remembers_its_output(self, x):
    """Keep the last output and its shape, as for a visualisation."""
    self.shape, self.output, self.history = tuple(x.shape), x.detach() * torch.rand(x.shape), [x.detach().mean().item()]
    return x


def sets_eval(self, x):
    """Freeze itself in forward."""
    return functional.dropout(x, 0.5, training=self.eval().training)


def maps(self, x):
    """Use torch.func within the model."""
    del self
    return torch.func.vmap(torch.func.grad(lambda v: v.sin().sum()))(x)


def every_dtype(self, x):
    """Use constants of every kind."""
    rotated = torch.view_as_real(torch.view_as_complex(x.reshape(-1, 3, 2)) * self.rotation).flatten(1)
    mixed = rotated + self.wide.sum() + self.bits.float().mean() + self.tiny.float().mean() + self.byte
    return torch.sparse.mm(self.graph, (mixed * self.turned[:, 0]).t()).t() + self.flags.float().mean()


def _by_rows(graph):
    with warnings.catch_warnings(action="ignore"):  # "in beta state"
        return graph.to_sparse_csr()


def constants():
    """Return buffers of every dtype, layout and kind."""
    graph = torch.eye(NUM_FEATURES).mul(torch.rand(NUM_FEATURES, NUM_FEATURES))
    return {
        "rotation": torch.polar(torch.ones(3), torch.rand(3)),
        "wide": torch.rand(1).expand(5),
        "bits": torch.rand(4).bfloat16(),
        "tiny": torch.rand(4).to(torch.float8_e4m3fn),
        "byte": (9 * torch.rand(())).to(torch.int8),
        "flags": torch.rand(5) > 0.5,
        "turned": torch.rand(3, NUM_FEATURES).t(),
        "empty": torch.zeros(0, 4),
        "nowhere": torch.empty(3, device="meta"),
        "graph": graph.to_sparse(),
        "rows": _by_rows(graph),
        "unknown": torch.tensor([0.0, -0.0, torch.nan, torch.inf]),
    }


def with_constants():
    """Return a model with them, and one of them shared."""
    model = Around(Acts(every_dtype, **constants()))
    model.register_buffer("shared", model.inner.bits)
    return model


class EveryParameter(nn.Module):
    """Parameters of every dtype and shape; two layers share one."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(NUM_FEATURES, NUM_FEATURES), nn.Linear(NUM_FEATURES, NUM_FEATURES)
        self.second.weight = self.first.weight
        self.wide, self.narrow, self.brain = (
            nn.Parameter(torch.rand(NUM_FEATURES, dtype=dtype))
            for dtype in (torch.float64, torch.float16, torch.bfloat16)
        )
        self.scale, self.empty = nn.Parameter(torch.ones(())), nn.Parameter(torch.zeros(0, 3))
        self.turned = nn.Parameter(torch.rand(NUM_CLASSES, NUM_FEATURES).t())
        self.angle = nn.Parameter(torch.rand(3, dtype=torch.complex64), requires_grad=False)

    def forward(self, x):
        """Return the logits."""
        hidden = self.second(self.first(x).relu()) * self.wide.float() + self.narrow.float() * self.brain.float()
        return hidden @ self.turned * self.scale + self.empty.sum() + self.angle.real


class OwnBatchNorm(nn.Module):
    """Batch normalisation that is not torch's."""

    def __init__(self):
        super().__init__()
        self.register_buffer("running_mean", torch.zeros(NUM_FEATURES))
        self.register_buffer("running_var", torch.ones(NUM_FEATURES))
        self.register_buffer("count", torch.zeros((), dtype=torch.long))

    def forward(self, x):
        """Return the normalised input."""
        with torch.no_grad():
            self.running_mean.lerp_(x.mean(0), 0.1)
            self.running_var.data = torch.lerp(self.running_var, x.var(0), 0.1)
            self.count += 1
        return (x - x.mean(0)) / x.std(0)


def codebook(self, x):
    """Count how often a code is the nearest, and average the mean."""
    self.uses += torch.bincount((x.sum(1) > 0).long(), minlength=2)
    self.average.lerp_(x.detach().mean(0), 0.1)
    return x


def seldom(self, x):
    """Cool a temperature in every second pass."""
    self.steps += 1
    if self.steps % 2 == 0:
        self.temperature *= 0.9
    return x / self.temperature


def longest(self, x):
    """Cache a table whose length depends on the samples."""
    length = NUM_FEATURES + int(x[0, 0] > 0)
    if len(self.table) != length:
        self.table = torch.arange(length).cos()
    return x * self.table[:NUM_FEATURES]


def checkpointed(*, use_reentrant):
    """Return a model that computes a part again in the backward pass."""
    inner = nn.Sequential(nn.Linear(NUM_FEATURES, NUM_FEATURES), nn.Tanh())
    act = Acts(lambda _, x: checkpoint(inner, x.requires_grad_(), use_reentrant=use_reentrant))
    act.inner = inner
    return Around(act)


def hooked():
    """Return a model with hooks that change what passes."""
    model = Around(nn.Linear(NUM_FEATURES, NUM_FEATURES))
    model.inner.register_forward_hook(lambda _, __, output: output * 2)
    model.last.weight.register_hook(lambda gradient: gradient * 0.5)
    return model


def pruned():
    """Return a model with masked weights."""
    model = Around(nn.Linear(NUM_FEATURES, NUM_FEATURES))
    prune.random_unstructured(model.inner, "weight", 0.5)
    return model


def frozen_norm():
    """Return a model with one normalisation in eval mode, and one in training."""
    model = Around(nn.Sequential(nn.BatchNorm1d(NUM_FEATURES), nn.BatchNorm1d(NUM_FEATURES, momentum=None)))
    model.inner[0].eval()
    return model


# ---- layers that are refused


class Sparse(nn.Module):
    """Looks words up, with sparse gradients."""

    def __init__(self, table):
        super().__init__()
        self.table, self.last = table, nn.Linear(4, NUM_CLASSES)

    def forward(self, x):
        """Return the logits of the words that the samples stand for."""
        words = x.abs().long() % 10
        if isinstance(self.table, nn.Module):
            return self.last(self.table(words).reshape(len(x), -1, 4).sum(1))
        return self.last(functional.embedding(words, self.table, sparse=True).sum(1))


def own_count(self, x):
    """Count in an attribute."""
    self.passes = getattr(self, "passes", 0) + 1
    return x / self.passes


def own_list(self, x):
    """Keep everything."""
    if "kept" not in vars(self):
        self.kept = []
    self.kept.append(x.mean().item())
    return x


def own_hidden(self, x):
    """Carry a hidden state over, as a recurrent network does."""
    self.hidden = 0.5 * getattr(self, "hidden", 0) + x.detach().mean()
    return x + self.hidden


def own_dictionary(self, x):
    """Count by name."""
    counts = vars(self).setdefault("counts", {"train": 0})
    counts["train"] += 1
    return x


def with_generator(generator):
    """Return a model that draws from a generator of its own."""

    def draw(self, x):
        if isinstance(self.generator, torch.Generator):
            return x + torch.rand(x.shape, generator=self.generator)
        return x * self.generator.uniform(0.5, 1.5)

    model = Around(Acts(draw))
    model.inner.generator = generator
    return model


def queue(self, x):
    """Keep the last samples."""
    self.queue[: len(x)] = x.detach()
    return x


def makes_an_average(self, x):
    """Make a buffer of the samples at first use."""
    if not hasattr(self, "average"):
        self.register_buffer("average", x.detach().mean(0))
    return x - self.average


def deletes(self, x):
    """Drop a buffer."""
    if hasattr(self, "table"):
        del self.table
    return x


class Writes(nn.Module):
    """Writes to a parameter: in place, behind torch's back, or by another tensor."""

    def __init__(self, write, *, trains=False):
        super().__init__()
        self.write, self.last = (write,), nn.Linear(NUM_FEATURES, NUM_CLASSES)
        self.teacher = nn.Parameter(torch.rand(NUM_CLASSES, NUM_FEATURES), requires_grad=trains)

    def forward(self, x):
        """Return the logits of both."""
        self.write[0](self)
        return self.last(x) + functional.linear(x, self.teacher)


@torch.no_grad()
def follow(self):
    """Let the teacher follow, as in MoCo."""
    self.teacher.lerp_(self.last.weight, 0.1)


def follow_by_data(self):
    """Do so as the published code does."""
    self.teacher.data = self.teacher.data * 0.9 + self.last.weight.data * 0.1


def constrain(self):
    """Bound the weights in forward, as in EEGNet."""
    self.teacher.data = torch.renorm(self.teacher.data, p=2, dim=0, maxnorm=0.5)


class Reduces(torch.autograd.Function):
    """Sums the gradient over the processes."""

    @staticmethod
    def forward(_, x):
        """Return the input."""
        return x.clone()

    @staticmethod
    def backward(_, gradient):
        """Return the sum."""
        gradient = gradient.clone()
        dist.all_reduce(gradient)
        return gradient


def gathers(self, x):
    """Gather the features of all processes, as contrastive losses do."""
    del self
    parts = [torch.empty_like(x) for _ in range(dist.get_world_size())]
    dist.all_gather(parts, x)
    return x


def reduces(self, x):
    """Sum by a functional collective."""
    del self
    from torch.distributed import _functional_collectives

    return _functional_collectives.all_reduce(x, "sum", dist.group.WORLD)


class Centred(nn.Module):
    """A loss with a centre that follows the outputs, as DINO's."""

    def __init__(self):
        super().__init__()
        self.register_buffer("centre", torch.zeros(NUM_CLASSES))

    def forward(self, outputs, targets):
        """Return one loss a sample."""
        losses = LOSS(outputs - self.centre, targets)
        self.centre = 0.9 * self.centre + 0.1 * outputs.detach().mean(0)
        return losses


def loss_with_a_count():
    """Return a loss function around a module that counts."""
    module = nn.Module()
    module.calls = 0

    def loss(outputs, targets):
        module.calls += 1
        return LOSS(outputs, targets)

    return loss


def inference_model():
    """Return a model made in the wrong place."""
    with torch.inference_mode():
        return Around(nn.Linear(NUM_FEATURES, NUM_FEATURES))


def with_parameter(make):
    """Return a model with one more parameter."""

    def model():
        result = Around(nn.Identity())
        result.odd = make()
        return result

    return model


@dataclass
class Case:
    """A model and a loss, and what becomes of them: "right", or a part of the line that refuses them."""

    model: object
    gives: str = "right"
    loss: object = lambda: LOSS
    buffers: dict = field(default_factory=dict)
    overlap: bool = True


LAZY = "is not initialised yet: run the model on one batch, before Step and the optimizer are made"
DIFFERS = "differs between the workers after their forward passes; say what becomes of it"
AGAIN = "changes with every pass, so it would depend on the processes"
linear = partial(nn.Linear, NUM_FEATURES, NUM_FEATURES)
zero, one = torch.zeros(()), torch.ones(())

CASES = {
    "forces": Case(layer(forces, scale=torch.ones(NUM_FEATURES))),
    "forces that train": Case(Forces),
    "gradient penalty": Case(Penalised, loss=lambda: penalty),
    "spectral norm": Case(lambda: Around(parametrizations.spectral_norm(linear()))),
    "old spectral norm": Case(lambda: Around(nn.utils.spectral_norm(linear()))),
    "weight norm": Case(lambda: Around(parametrizations.weight_norm(linear()))),
    "orthogonal": Case(lambda: Around(parametrizations.orthogonal(linear()))),
    "pruned": Case(pruned),
    "float counter": Case(layer(counts, steps=zero)),
    "integer counter": Case(layer(counts, steps=torch.zeros(1, dtype=torch.long))),
    "counter of 8 bits": Case(layer(counts, steps=torch.zeros((), dtype=torch.int8))),
    "counter that is replaced": Case(layer(counts_anew, steps=zero)),
    "pointer": Case(layer(points, pointer=torch.zeros(1, dtype=torch.long), used=torch.zeros(1, dtype=torch.bool))),
    "annealed": Case(layer(anneals, temperature=one)),
    "cache made in forward": Case(layer(caches)),
    "cache that grows": Case(layer(grows, table=torch.ones(2))),
    "empty place for a cache": Case(layer(fills, table=None)),
    "writes to its input": Case(layer(writes_to_its_input)),
    "remembers its output": Case(layer(remembers_its_output)),
    "sets eval in forward": Case(layer(sets_eval)),
    "torch.func": Case(layer(maps)),
    "every buffer": Case(with_constants),
    "every parameter": Case(EveryParameter),
    "own batch normalisation": Case(lambda: Around(OwnBatchNorm())),
    "codebook, declared": Case(
        layer(codebook, uses=torch.zeros(2, dtype=torch.long), average=torch.zeros(NUM_FEATURES)),
        buffers={"*.uses": "sum", "inner.average": "mean"},
    ),
    "seldom, declared": Case(
        layer(seldom, steps=torch.zeros((), dtype=torch.int32), temperature=one), buffers={"inner.temp*": "same"}
    ),
    "cache by length, declared": Case(layer(longest, table=torch.ones(0)), buffers={"inner.table": "start"}),
    "checkpoint": Case(partial(checkpointed, use_reentrant=False)),
    "reentrant checkpoint": Case(partial(checkpointed, use_reentrant=True), overlap=False),
    "hooks": Case(hooked),
    "frozen normalisation": Case(frozen_norm),
    "eval mode": Case(lambda: Around(nn.Sequential(nn.BatchNorm1d(NUM_FEATURES), nn.Dropout())).eval()),
    "compiled": Case(lambda: torch.compile(Around(nn.BatchNorm1d(NUM_FEATURES)), backend="eager")),
    "sparse table": Case(lambda: Sparse(nn.Embedding(10, 4, sparse=True)), "'table' has sparse gradients"),
    "sparse bag": Case(lambda: Sparse(nn.EmbeddingBag(10, 4, sparse=True, mode="sum")), "make it with sparse=False"),
    "sparse look-up": Case(
        lambda: Sparse(nn.Parameter(torch.rand(10, 4))), "gradient of the model's 'table' is sparse"
    ),
    "complex": Case(with_parameter(lambda: nn.Parameter(torch.ones(2, dtype=torch.complex64))), "'odd' is torch.compl"),
    "complex128": Case(with_parameter(lambda: nn.Parameter(torch.ones(2).cdouble())), "torch.view_as_complex"),
    "float8": Case(with_parameter(lambda: nn.Parameter(torch.ones(2).to(torch.float8_e5m2))), "use bfloat16 or wider"),
    "meta": Case(with_parameter(lambda: nn.Parameter(torch.ones(2, device="meta"))), "'odd' is on the meta device"),
    "expanded": Case(with_parameter(lambda: nn.Parameter(torch.ones(1).expand(2))), "expand it in forward"),
    "sparse parameter": Case(with_parameter(lambda: nn.Parameter(torch.eye(2).to_sparse())), "'odd' is sparse"),
    "lazy": Case(lambda: Around(nn.LazyLinear(NUM_FEATURES)), f"'inner.weight' {LAZY}"),
    "lazy convolution": Case(lambda: nn.Sequential(nn.Linear(6, 6), nn.LazyConv1d(3, 1)), f"'1.weight' {LAZY}"),
    "lazy normalisation": Case(lambda: Around(nn.LazyBatchNorm1d()), f"'inner.weight' {LAZY}"),
    "lazy normalisation without weights": Case(lambda: Around(nn.LazyBatchNorm1d(affine=False)), LAZY),
    "inference": Case(inference_model, "was made under torch.inference_mode"),
    "queue": Case(layer(queue, queue=torch.zeros(9, NUM_FEATURES)), f"'inner.queue' {DIFFERS}"),
    "integer queue": Case(
        layer(lambda s, x: s.seen.add_((x > 0).sum()) * 0 + x, seen=torch.zeros(1, dtype=torch.long)), DIFFERS
    ),
    "average that is replaced": Case(
        layer(lambda s, x: setattr(s, "mean", 0.9 * s.mean + x.detach().mean(0)) or x, mean=torch.zeros(6)), DIFFERS
    ),
    "average made in forward": Case(layer(makes_an_average), f"'inner.average' {DIFFERS}"),
    "codebook": Case(
        layer(codebook, uses=torch.zeros(2, dtype=torch.long), average=torch.zeros(NUM_FEATURES)),
        "'inner.uses' differs",
    ),
    "cache by length": Case(layer(longest, table=torch.ones(0)), f"'inner.table' {DIFFERS}"),
    "seldom": Case(layer(seldom, steps=zero, temperature=one), "'inner.temperature' changes in some steps only"),
    "mean of whole numbers": Case(
        layer(counts, steps=torch.zeros(1, dtype=torch.long)), "has no mean with", buffers={"*steps": "mean"}
    ),
    "unknown role": Case(layer(counts, steps=zero), "'avg' is unknown; known are", buffers={"*steps": "avg"}),
    "unknown buffer": Case(layer(counts, steps=zero), "'inner.step' fits no buffer", buffers={"inner.step": "sum"}),
    "own count": Case(layer(own_count), f"the model's 'inner.passes' {AGAIN}"),
    "own list": Case(layer(own_list), f"'inner.kept' {AGAIN}"),
    "own hidden state": Case(layer(own_hidden), f"'inner.hidden' {AGAIN}"),
    "own dictionary": Case(layer(own_dictionary), f"'inner.counts' {AGAIN}"),
    "torch's generator": Case(lambda: with_generator(torch.Generator()), f"'inner.generator' {AGAIN}"),
    "numpy's generator": Case(lambda: with_generator(np.random.default_rng(0)), f"'inner.generator' {AGAIN}"),
    "Python's generator": Case(lambda: with_generator(random.Random(0)), f"'inner.generator' {AGAIN}"),
    "momentum encoder": Case(lambda: Writes(follow), "writes to the model's parameter 'teacher'"),
    "momentum encoder by data": Case(lambda: Writes(follow_by_data), "writes to the model's parameter 'teacher'"),
    "bounded weights": Case(lambda: Writes(constrain, trains=True), "writes to the model's parameter 'teacher'"),
    "gather": Case(layer(gathers), "calls torch.distributed ("),
    "functional collective": Case(layer(reduces), "calls torch.distributed ("),
    "collective in the backward pass": Case(
        lambda: Around(nn.Sequential(linear(), Acts(lambda _, x: Reduces.apply(x)))), "calls torch.distributed ("
    ),
    "collective in the loss": Case(
        lambda: Around(nn.Identity()), "calls torch.distributed (", loss=lambda: lambda o, t: gathers(None, LOSS(o, t))
    ),
    "wrapped": Case(lambda: Around(nn.DataParallel(linear())), "'inner' is wrapped in DataParallel; pass the module"),
    "SyncBatchNorm": Case(lambda: Around(nn.SyncBatchNorm(6)), "'inner' is SyncBatchNorm"),
    "centre in the loss": Case(lambda: Around(nn.Identity()), f"the loss's 'centre' {AGAIN}", loss=Centred),
    "count in the loss": Case(lambda: Around(nn.Identity()), f"the loss's 'calls' {AGAIN}", loss=loss_with_a_count),
}


def outcome(case, *, processes=None, overlap=True, iterations=3, k=4):
    """Train a few updates; return the line that refuses them, or a hash of the weights and buffers.

    Args:
        case: of `CASES`.
        processes: that take part; None for those of the group.
        overlap: whether sums leave during the backward pass.
        iterations: the number of updates.
        k: the number of workers.
    """
    torch.manual_seed(0)
    model, n = case.model(), 4
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    generator = torch.Generator().manual_seed(1)
    step = None
    try:
        with only(processes):
            options = AggregationOptions("direct", overlap=overlap)
            sizes = {"minibatch_size": k * n, "worker_minibatch_size": n}
            step = Step(model, case.loss(), optimizer, aggregation=options, buffers=case.buffers, **sizes)
        for _ in range(iterations):
            inputs = torch.randn(k, n, NUM_FEATURES, generator=generator)
            step([(inputs[worker], torch.arange(n) % NUM_CLASSES) for worker in step.workers])
    except InputError as error:
        return str(error)
    finally:
        if step:
            step.close()
    digest = sha256()
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        digest.update(name.encode())
        for part in dense_parts(tensor.detach()):
            digest.update(as_bytes(part).numpy().tobytes())
    return digest.hexdigest()


@contextmanager
def only(processes):
    """Let `Step` take these processes for those of the group."""
    if processes is None:
        yield
        return
    with mock.patch.object(Processes, "current", return_value=processes):
        yield
