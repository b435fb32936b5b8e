"""A CUDA graph of one worker's forward and backward pass: what it would bring, beside the same pass without it.

The step itself has no graph yet (docs/design.md says what is left). This one holds for models whose pass draws from
torch's generator of the GPU alone, asks nothing of the device, and takes images of one size.
"""

import torch
from torch import nn

from bigbatch.rules.randomness.generators import seed_generators
from bigbatch.step.worker_pass import forward_precision
from training import Batch, Task, criterion

WARM_UP = 3  # passes before the capture, on a side stream, as torch asks for


class GraphedPass:
    """A worker's pass, captured once. Each call copies a batch in, seeds, and replays.

    Args:
        model: its parameters' gradients are the graph's own after a call.
        task: whose sizes the batches have.
        batch: the first one.
    """

    def __init__(self, model: nn.Module, task: Task, batch: Batch) -> None:
        self.model, self.task, self.loss_function = model, task, criterion()
        self.device = batch[0].device
        self.images, self.labels = (tensor.clone() for tensor in batch)
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(WARM_UP):
                self._forget()
                self.eager(self.images, self.labels)
        torch.cuda.current_stream().wait_stream(side)
        self._forget()
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            self.loss = self.eager(self.images, self.labels)

    def __call__(self, batch: Batch, seed: int) -> torch.Tensor:
        """Replay the pass for a batch, and return its loss; the gradients are overwritten."""
        self.images.copy_(batch[0])
        self.labels.copy_(batch[1])
        seed_generators(seed, self.device)  # on the host: a replay begins with what the generator holds then
        self.graph.replay()
        return self.loss

    def eager(self, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Take the pass without a graph, and return its loss."""
        with forward_precision(self.device, self.task.precision):
            losses = self.loss_function(self.model(images), labels)
        loss = losses.float().sum() / self.task.minibatch_size
        loss.backward()
        return loss.detach()

    def _forget(self) -> None:
        for parameter in self.model.parameters():
            parameter.grad = None
