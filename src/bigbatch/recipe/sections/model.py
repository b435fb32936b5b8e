"""The section `model`."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from bigbatch.errors import InputError, nearest
from bigbatch.models.names import check_model_name, is_detector, is_of_library, takes_arguments
from bigbatch.recipe.sections.arguments import check_arguments
from bigbatch.recipe.sections.bounds import check_at_least, check_at_most, check_below_one

MAX_WIDTH: Final = 65_536
BUFFER_ROLES: Final = ("mean", "sum", "same", "start")  # a step has the same


@dataclass(frozen=True)
class Model:
    """What is trained.

    Attributes:
        name: "resnet18", "resnet34", "resnet50" or "resnet101"; "cifar-resnet8", "cifar-resnet14" and so on, in steps
            of 6. "mask-rcnn-resnet50" is a detector over one of the first four, and so are "faster-rcnn", "retinanet"
            and "fcos". "torchvision/NAME", "timm/NAME" and "transformers/TYPE" are models of these libraries, without
            their weights. `package.module:callable` is given `arguments` and returns a torch.nn.Module.
        width: channels of the first stage; 0 is the family's own width (64, or 16 for cifar-resnet). The other
            channels of a detector scale along.
        stem_pool: whether a small image is halved after the stem (cifar-resnet only).
        zero_gamma: whether each residual block starts as the identity (arXiv 1706.02677, section 5.1).
        dropout: probability of dropping a feature before the classifier.
        arguments: keyword arguments of your own callable, of the library's model, or of torchvision's detector (and
            `anchor_sizes`, in pixels). Those of transformers' models are the fields of their configuration.
        weights: a file that the training starts from: safetensors (also of `bigbatch export`), or a state dict that
            torch saved; "" for none. What has the model's names and shapes is taken.
        frozen: patterns of names of parameters that are not trained, such as `stem.*`.
        frozen_epochs: how long they are not trained, in epochs; 0 for the whole training.
        frozen_batch_norm: true, or patterns of names of modules: batch normalisations that are fixed linear layers.
            They use their running statistics, which nothing changes, and their scale and shift are not trained.
        norm_group: samples over which batch normalisation takes its statistics, within a worker; 0 for all of a
            worker's. A worker of 256 in groups of 32 gives, but for rounding, what eight workers of 32 give, in one
            pass (arXiv 1705.08741).
        compile: whether to train through `torch.compile`; for evaluation the model is not compiled. The bits are the
            same for any number of processes, and others than without it.
        weights_prefix: beginnings of names in that file, each with what the model has instead: `{"encoder." = ""}`.
        buffers: what becomes of buffers in which the workers differ after a forward pass, by patterns of their names,
            as in `{"vq.uses" = "sum"}`. "mean" adds the mean of the workers' changes, and "sum" their sum. "start" puts
            a cache back. "same" is for what all workers change alike, but in some steps only.

    Raises:
        InputError: a field is out of its range.
    """

    name: str
    width: int = 0
    stem_pool: bool = False
    zero_gamma: bool = True
    dropout: float = 0.0
    arguments: Mapping[str, object] = field(default_factory=dict)
    weights: str = ""
    weights_prefix: Mapping[str, object] = field(default_factory=dict)
    frozen: tuple[str, ...] = ()
    frozen_epochs: int = 0
    frozen_batch_norm: bool | tuple[str, ...] = False
    norm_group: int = 0
    compile: bool = False
    buffers: Mapping[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        width, dropout = {"model.width": self.width}, {"model.dropout": self.dropout}
        check_at_least(0, width | dropout)
        check_below_one(dropout)
        check_at_most(MAX_WIDTH, width)
        check_model_name(self.name)
        check_arguments("model", self.name, self.arguments, takes_arguments=takes_arguments(self.name))
        self._check_idle_fields()
        self._check_weights()
        check_at_least(0, {"model.frozen_epochs": self.frozen_epochs, "model.norm_group": self.norm_group})
        if self.frozen_epochs and not self.frozen:
            msg = "model.frozen_epochs needs model.frozen: the names of what is frozen for so long"
            raise InputError(msg)
        for pattern, role in self.buffers.items():
            if role not in BUFFER_ROLES:
                msg = f"model.buffers: '{pattern}' cannot be '{role}'; {nearest(str(role), list(BUFFER_ROLES))}"
                raise InputError(msg)

    @property
    def frozen_norms(self) -> tuple[str, ...]:
        """The patterns of names of the batch normalisations that are fixed linear layers."""
        patterns = self.frozen_batch_norm
        return (("*",) if patterns else ()) if isinstance(patterns, bool) else patterns

    def check_groups(self, worker_minibatch_size: int) -> None:
        """Refuse groups that do not divide a worker.

        Raises:
            InputError: says what to choose.
        """
        if self.norm_group and worker_minibatch_size % self.norm_group:
            samples = f"a worker's {worker_minibatch_size} samples"
            msg = f"model.norm_group: groups of {self.norm_group} do not divide {samples}; choose a divisor"
            raise InputError(msg)

    @property
    def buffer_roles(self) -> dict[str, str]:
        """What becomes of buffers, as a step takes it."""
        return {pattern: str(role) for pattern, role in self.buffers.items()}

    def _check_idle_fields(self) -> None:
        """Refuse fields of our residual networks beside a model that does not have them."""
        fields: dict[str, object] = {"model.stem_pool": self.stem_pool, "model.dropout": self.dropout}
        if is_of_library(self.name):
            fields["model.width"] = self.width
        elif not is_detector(self.name):
            return
        for field_name, value in fields.items():
            if value:
                msg = f"'{self.name}' has no {field_name}; set what it takes in model.arguments"
                raise InputError(msg)

    def _check_weights(self) -> None:
        if self.weights_prefix and not self.weights:
            msg = "model.weights_prefix renames what is in model.weights; name that file too"
            raise InputError(msg)
        if not all(isinstance(new, str) for new in self.weights_prefix.values()):
            msg = f"model.weights_prefix must give a text for each beginning, not {dict(self.weights_prefix)}"
            raise InputError(msg)
