"""The sections of a recipe."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Reference:
    """The small-minibatch recipe that is trusted.

    Attributes:
        minibatch_size: its samples per update.
        learning_rate: its learning rate (eta).
        largest_matching: the largest minibatch size known to keep the accuracy; 0 when nobody has measured it.
    """

    minibatch_size: int
    learning_rate: float
    largest_matching: int = 0


@dataclass(frozen=True)
class Seeds:
    """Seeds of their own for parts of a run's randomness; -1 is the recipe's `seed`.

    Attributes:
        initialisation: of the weights.
        order: of the samples in every epoch.
        augmentation: of the samples, and of what else the workers draw, such as dropout.
    """

    initialisation: int = -1
    order: int = -1
    augmentation: int = -1


@dataclass(frozen=True)
class Model:
    """What is trained.

    Attributes:
        name: resnet18, 34, 50, 101; cifar-resnet8, 14, 20, ...; or `package.module:callable`, called with `arguments`.
        width: channels of the first stage; 0 means the family's own (64, or 16 for cifar-resnet).
        stem_pool: halve a small image after the stem (cifar-resnet only).
        zero_gamma: start each residual block as the identity (arXiv 1706.02677, section 5.1).
        dropout: probability of dropping a feature before the classifier.
        arguments: keyword arguments of the user's own callable.
    """

    name: str
    width: int = 0
    stem_pool: bool = False
    zero_gamma: bool = True
    dropout: float = 0.0
    arguments: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Data:
    """What it is trained on.

    Attributes:
        name: digits, fashion-mnist, cifar10, image-folder; or `package.module:callable`, called with `arguments`.
        path: the folder or archive; "" looks in the usual places.
        augmentation: any of "flip", "crop" (by padding), "random-resized-crop" (image-folder), in this order.
        image_size: pixels of the square that an image-folder's images are cut to.
        num_train_samples: samples of the training split where they cannot be counted without the data; 0 to count.
        arguments: keyword arguments of the user's own callable.
    """

    name: str
    path: str = ""
    augmentation: tuple[str, ...] = ()
    image_size: int = 224
    num_train_samples: int = 0
    arguments: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Scaling:
    """How the learning rate follows the minibatch size, and weight decay with it.

    Attributes:
        rule: "linear", "square-root", "none" or "adascale". "square-root" also scales betas and epsilon of adam,
            adamw and lamb.
        weight_decay: "keep" lambda as it is, or the "timescale" of decay in epochs.
    """

    rule: str = "linear"
    weight_decay: str = "keep"


@dataclass(frozen=True)
class Warmup:
    """The first epochs after scaling up: "gradual", "constant" (both from the reference rate) or "none"."""

    kind: str = "gradual"
    epochs: float = 5.0


@dataclass(frozen=True)
class Schedule:
    """The course of the base rate: "step" (times `factor` at each milestone, in epochs), "cosine" or "constant"."""

    kind: str = "step"
    milestones: tuple[float, ...] = ()
    factor: float = 0.1
