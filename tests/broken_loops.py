"""Training loops, each built to break one rule; and one that is right."""

import torch
from torch import nn

import bigbatch
from rate_absorbed import RateAbsorbedSGD


def set_rate(optimizer, rate):
    for group in optimizer.param_groups:
        group["lr"] = rate


def update(model, loss_function, optimizer, minibatch, divide):
    optimizer.zero_grad()
    for inputs, targets in minibatch:
        (loss_function(model(inputs), targets).sum() / divide(minibatch, targets)).backward()


def by_kn(minibatch, _targets):
    return sum(len(targets) for _, targets in minibatch)


def by_n(_minibatch, targets):
    return len(targets)


def right_loop(model, _loss_function, optimizer, minibatches, learning_rates):
    """Train as a plain DistributedDataParallel loop does: the mean of the workers' means."""
    model.train()
    for minibatch, rate in zip(minibatches, learning_rates, strict=True):
        set_rate(optimizer, rate)
        optimizer.zero_grad()
        for inputs, targets in minibatch:
            loss = nn.functional.cross_entropy(model(inputs), targets)
            (loss / len(minibatch)).backward()
        optimizer.step()


def counting_loop(model, loss_function, optimizer, minibatches, learning_rates):
    """Divide once, by the count of the whole minibatch: this is right for a `Loss`."""
    for minibatch, rate in zip(minibatches, learning_rates, strict=True):
        set_rate(optimizer, rate)
        optimizer.zero_grad()
        losses = [loss_function(model(inputs), targets) for inputs, targets in minibatch]
        (sum(loss.total for loss in losses) / sum(loss.weight for loss in losses)).backward()
        optimizer.step()


def averaging_loop(model, loss_function, optimizer, minibatches, learning_rates):
    """Average the workers' means over their own counts, as plain DistributedDataParallel does."""
    for minibatch, rate in zip(minibatches, learning_rates, strict=True):
        set_rate(optimizer, rate)
        optimizer.zero_grad()
        for inputs, targets in minibatch:
            loss = loss_function(model(inputs), targets)
            (loss.total / loss.weight / len(minibatch)).backward()
        optimizer.step()


def mixing_loop(model, loss_function, optimizer, minibatches, learning_rates):
    """Mix the samples by a number drawn here."""
    for minibatch, rate in zip(minibatches, learning_rates, strict=True):
        set_rate(optimizer, rate)
        share = torch.rand(())
        mixed = [(share * x + (1 - share) * x.flip(0), y) for x, y in minibatch]
        update(model, loss_function, optimizer, mixed, by_kn)
        optimizer.step()


def summing_loop(model, loss_function, optimizer, minibatches, learning_rates):
    """Sum the workers' mean gradients."""
    for minibatch, rate in zip(minibatches, learning_rates, strict=True):
        set_rate(optimizer, rate)
        update(model, loss_function, optimizer, minibatch, by_n)
        optimizer.step()


def undivided_loop(model, loss_function, optimizer, minibatches, learning_rates):
    """Sum the losses."""
    for minibatch, rate in zip(minibatches, learning_rates, strict=True):
        set_rate(optimizer, rate)
        update(model, loss_function, optimizer, minibatch, lambda *_: 1)
        optimizer.step()


def cancelling_loop(model, loss_function, optimizer, minibatches, learning_rates):
    """Cancel k: sum the workers' means, and keep the rate that is k times smaller."""
    for minibatch, rate in zip(minibatches, learning_rates, strict=True):
        set_rate(optimizer, rate / len(minibatch))
        update(model, loss_function, optimizer, minibatch, by_n)
        optimizer.step()


def scaled_loss_loop(model, loss_function, optimizer, minibatches, learning_rates):
    """Scale the loss instead of the rate, which stays 1."""
    for minibatch, rate in zip(minibatches, learning_rates, strict=True):
        set_rate(optimizer, 1.0)
        update(model, loss_function, optimizer, minibatch, lambda m, t: by_kn(m, t) / rate)  # noqa: B023
        optimizer.step()


def correcting_loop(model, loss_function, optimizer, minibatches, learning_rates):
    """Multiply torch's momentum by the ratio of the rates."""
    last = learning_rates[0]
    for minibatch, rate in zip(minibatches, learning_rates, strict=True):
        set_rate(optimizer, rate)
        update(model, loss_function, optimizer, minibatch, by_kn)
        for state in optimizer.state.values():
            state["momentum_buffer"].mul_(rate / last)
        last = rate
        optimizer.step()


def absorbing_loop(model, loss_function, optimizer, minibatches, learning_rates):
    """Keep momentum by hand, with the rate in it."""
    velocities = {}
    for minibatch, rate in zip(minibatches, learning_rates, strict=True):
        update(model, loss_function, optimizer, minibatch, by_kn)
        with torch.no_grad():
            for each in optimizer.param_groups:
                for p in each["params"]:
                    velocity = velocities.setdefault(p, torch.zeros_like(p))
                    gradient = p.grad + each["weight_decay"] * p
                    velocity.mul_(each["momentum"]).add_(rate * gradient)
                    p.sub_(velocity)


def own_optimizer_loop(model, loss_function, _optimizer, minibatches, learning_rates):
    """Make an optimizer of its own that absorbs the rate, and has another weight decay."""
    optimizer = RateAbsorbedSGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4)
    for minibatch, rate in zip(minibatches, learning_rates, strict=True):
        set_rate(optimizer, rate)
        update(model, loss_function, optimizer, minibatch, by_kn)
        optimizer.step()


def whole_loop(model, loss_function, optimizer, minibatches, learning_rates):
    """Normalise over the whole minibatch."""
    for minibatch, rate in zip(minibatches, learning_rates, strict=True):
        set_rate(optimizer, rate)
        inputs, targets = (torch.cat(part) for part in zip(*minibatch, strict=True))
        update(model, loss_function, optimizer, [(inputs, targets)], by_kn)
        optimizer.step()


def idle_loop(model, loss_function, optimizer, minibatches, learning_rates):
    """Do nothing."""


def short_loop(model):
    """Take other arguments."""


def set_learning_rate_loop(model, loss_function, optimizer, minibatches, learning_rates):
    """Keep the rates of the groups in their ratio; this one is right."""
    for minibatch, rate in zip(minibatches, learning_rates, strict=True):
        bigbatch.set_learning_rate(optimizer, rate)
        update(model, loss_function, optimizer, minibatch, by_kn)
        optimizer.step()
