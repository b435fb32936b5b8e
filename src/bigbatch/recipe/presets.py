"""Recipes that come with bigbatch; each docstring is the card of its experiment."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Final

from bigbatch.errors import InputError, nearest
from bigbatch.paths import is_file
from bigbatch.recipe.file import read_recipe
from bigbatch.recipe.recipe import Recipe
from bigbatch.recipe.sections import Data, Evaluation, Model, Optimizer, Reference, Scaling, Schedule, Warmup


def digits() -> Recipe:
    """Handwritten digits, 8x8 (UCI/scikit-learn), embedded: 1,280 to train on, 517 of mostly other writers to validate.

    ResNet-8 of width 16, minibatch 16 at rate 0.05, Nesterov momentum 0.9, weight decay 5e-4. 30 epochs, drops by 10 at
    15 and 25, crops after padding by one pixel. Above 16, 3 epochs of gradual warmup. The rate was chosen at 16 alone,
    from 0.025, 0.05 and 0.1 (mean errors of 3 seeds 1.93, 1.29 and 1.42 %). Errors from 16 to 1024:
    benchmarks/results/digits_figure1.md.
    """
    return Recipe(
        name="digits",
        reference=Reference(minibatch_size=16, learning_rate=0.05),
        model=Model("cifar-resnet8", width=16),
        data=Data("digits", augmentation=("crop",)),
        minibatch_size=16,
        worker_minibatch_size=16,
        epochs=30,
        warmup=Warmup("gradual", epochs=3.0),
        schedule=Schedule("step", milestones=(15.0, 25.0)),
        optimizer=Optimizer(weight_decay=5e-4),
    )


def fashion_mnist() -> Recipe:
    """Fashion-MNIST (Xiao et al. 2017), 28x28 grey: 60,000 to train on, 10,000 to validate.

    ResNet-8 of width 24 with a pooled stem, minibatch 64 at rate 0.1 as two workers of 32, Nesterov momentum 0.9,
    weight decay 5e-4. 15 epochs of a cosine, flips. Above 64, 1 epoch of gradual warmup, the paper's share (5 of 90).
    6.81 % with seed 0 (benchmarks/results/fashion_mnist_reference.md). Chosen at 64, one seed each, with a plain loop:
    width 16 at rates 0.05, 0.1, 0.2 gave 7.49, 7.39, 7.77 %. Weight decay 1e-3 gave 7.86, crops 8.09, width 24 7.07 %.
    """
    return Recipe(
        name="fashion-mnist",
        reference=Reference(minibatch_size=64, learning_rate=0.1),
        model=Model("cifar-resnet8", width=24, stem_pool=True),
        data=Data("fashion-mnist", augmentation=("flip",)),
        minibatch_size=64,
        worker_minibatch_size=32,
        epochs=15,
        warmup=Warmup("gradual", epochs=1.0),
        schedule=Schedule("cosine"),
        optimizer=Optimizer(weight_decay=5e-4),
    )


def cifar10() -> Recipe:
    """CIFAR-10 (Krizhevsky 2009), 32x32 colour, with the recipe of He et al. 2016a, section 4.2, in fewer epochs.

    ResNet-20, minibatch 128, rate 0.1, weight decay 1e-4, padded crops and flips are He's. 60 epochs with drops at 1/2
    and 3/4 replace his 64k iterations (164 epochs, drops at 32k and 48k). This project has not yet run it to its end.
    """
    return Recipe(
        name="cifar10",
        reference=Reference(minibatch_size=128, learning_rate=0.1),
        model=Model("cifar-resnet20", width=16),
        data=Data("cifar10", augmentation=("crop", "flip")),
        minibatch_size=128,
        worker_minibatch_size=32,
        epochs=60,
        schedule=Schedule("step", milestones=(30.0, 45.0)),
        optimizer=Optimizer(weight_decay=1e-4),
    )


def imagenet_resnet50() -> Recipe:
    """ImageNet-1k with ResNet-50, exactly as arXiv 1706.02677, sections 2.2 and 5.1, has it.

    Minibatch 256 at rate 0.1, n = 32 a worker. 90 epochs, drops by 10 at 30, 60 and 80. Nesterov momentum 0.9, weight
    decay 1e-4 except on batch normalisation. Above 256, 5 epochs of gradual warmup. The paper's errors: 23.60 % at 256,
    23.74 % at 8192, 24.79 % at 16k (figure 1). It needs `--set data.path=FOLDER` with train/ and val/ class folders.
    This project has not run it.
    """
    return Recipe(
        name="imagenet-resnet50",
        reference=Reference(minibatch_size=256, learning_rate=0.1, largest_matching=8192),
        model=Model("resnet50"),
        data=Data("image-folder", augmentation=("random-resized-crop", "flip"), num_train_samples=1_281_167),
        minibatch_size=256,
        worker_minibatch_size=32,
        epochs=90,
        schedule=Schedule("step", milestones=(30.0, 60.0, 80.0)),
        optimizer=Optimizer(weight_decay=1e-4, weight_decay_on_biases=True),
    )


def imagenet_resnet101() -> Recipe:
    """ImageNet-1k with ResNet-101, as arXiv 1706.02677, section 5.3, has it: `imagenet-resnet50` with a deeper network.

    The paper's errors: 22.08 % at 256, 22.36 % at 8192 (table 2c). It needs `--set data.path=FOLDER` with train/ and
    val/. This project has not run it.
    """
    shallower = imagenet_resnet50()
    return replace(shallower, name="imagenet-resnet101", model=Model("resnet101"))


def imagenette() -> Recipe:
    """Imagenette (fastai): ten classes of ImageNet's photographs at 64 pixels, 9,469 to train on, 3,925 to validate.

    ResNet-18 of width 16, minibatch 64 at rate 0.2 as two workers of 32, Nesterov momentum 0.9, weight decay 5e-4. 8
    epochs of a cosine, random resized crops, flips. Above 64, half an epoch of gradual warmup, the paper's share. The
    rate was chosen at 64 alone, seed 0: the errors after the last epoch at 0.05, 0.1, 0.2 and 0.4 were 32.69, 30.52,
    29.43 and 29.43 %. It needs `--set data.path=FOLDER` with train/ and val/. Errors from 32 to 512:
    benchmarks/results/imagenette_figure1.md.
    """
    return Recipe(
        name="imagenette",
        reference=Reference(minibatch_size=64, learning_rate=0.2),
        model=Model("resnet18", width=16),
        data=Data(
            "image-folder",
            augmentation=("random-resized-crop", "flip"),
            image_size=64,
            num_train_samples=9_469,
        ),
        minibatch_size=64,
        worker_minibatch_size=32,
        epochs=8,
        warmup=Warmup("gradual", epochs=0.5),
        schedule=Schedule("cosine"),
        optimizer=Optimizer(weight_decay=5e-4),
    )


def text_gpt() -> Recipe:
    """A GPT of characters on tinyshakespeare, as nanoGPT (Karpathy) trains it on a CPU, in 2,000 iterations of 12.

    From its README's command for a CPU: 4 layers, 4 heads, width 128, no dropout, sequences of 64, minibatch 12. Rate
    1e-3 to 1e-4, 100 iterations of warmup and beta2 0.99 are of config/train_shakespeare_char.py. Decay 0.1, beta1 0.9
    and clipping at 1 are of train.py. Ours: sequences that do not overlap, biases, workers of 4 sequences. nanoGPT's
    loss is 1.88, a perplexity of 6.6. By the square-root rule beta1 allows 119 sequences at most; raise it beyond. It
    needs `--set data.path=FILE`. This project has not run it to its end.
    """
    return Recipe(
        name="text-gpt",
        reference=Reference(minibatch_size=12, learning_rate=1e-3, warmup_iterations=100),
        model=Model(
            "transformers/gpt2",
            arguments={"n_layer": 4, "n_head": 4, "n_embd": 128, "n_positions": 64}
            | {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0},
        ),
        data=Data("text", tokenizer="characters", sequence_length=64, num_train_samples=15_685),
        minibatch_size=12,
        worker_minibatch_size=4,
        iterations=2_000,
        loss="token-cross-entropy",
        metrics=("perplexity",),
        scaling=Scaling("square-root"),
        warmup=Warmup("none"),
        schedule=Schedule("cosine", floor=0.1),
        optimizer=Optimizer("adamw", weight_decay=0.1, betas=(0.9, 0.99), clip_norm=1.0),
    )


def coco_mask_rcnn() -> Recipe:
    """COCO with Mask R-CNN on ResNet-50 and a feature pyramid, as arXiv 1706.02677, section 5.4, has it.

    2 images a worker. Minibatch 16 at rate 0.02 for 160k iterations; the linear rule keeps box AP down to minibatch 2:
    0.0025 for 1.28M iterations (35.7, 35.7, 35.7 and 35.6 at 2, 4, 8 and 16). The rest is that of He et al. 2017
    (arXiv 1703.06870, section 3.1): a drop by 10 at 120k, momentum 0.9, weight decay 1e-4, shorter side 800, flips, a
    ResNet-50 of ImageNet with frozen batch normalisation. From Detectron's configuration: longer side at most 1333, 500
    iterations of warmup from a third of the rate, no decay of biases. Above 16, which the paper does not try, gradual
    warmup of 500 iterations is our choice. Heads and anchors are torchvision's. It needs `--set data.path=FOLDER` of
    COCO 2017, `--set model.weights=FILE` of a ResNet-50 and `--set 'model.weights_prefix={"" = "backbone.body."}'`.
    This project has not run it.
    """
    return Recipe(
        name="coco-mask-rcnn",
        reference=Reference(
            minibatch_size=16, learning_rate=0.02, largest_matching=16, warmup_iterations=500, warmup_start=1 / 3
        ),
        model=Model("mask-rcnn-resnet50", frozen_batch_norm=True),
        data=Data("coco", augmentation=("flip",), labels="masks", short_sides=(800,), num_train_samples=118_287),
        minibatch_size=16,
        worker_minibatch_size=2,
        iterations=160_000,
        objective="detection",
        metrics=("coco-box-ap", "coco-mask-ap"),
        warmup=Warmup("gradual", iterations=500),
        schedule=Schedule("step", milestones=(120_000.0,)),
        optimizer=Optimizer(nesterov=False, weight_decay=1e-4),
        evaluation=Evaluation(part_size=8),
    )


def bccd_retinanet() -> Recipe:
    """BCCD: 205 microscope images of blood cells to train on, 87 to validate; boxes of three kinds of cells.

    A small RetinaNet: ResNet-18 of width 8 with a pyramid of 32 channels, images of 192 x 256. Minibatch 2 at rate
    0.03, one worker of 2 images, Nesterov momentum 0.9, weight decay 1e-4. 10 epochs of a cosine, flips. Above 2, 1
    epoch of gradual warmup. The rate was chosen at 2 alone, one seed each, on a backbone of Imagenette with frozen
    batch normalisation. Box AP after 6 epochs at rates 0.005, 0.01, 0.03: 12.8, 20.2, 28.2 %; 0.06 was far behind after
    3. It needs `--set data.path=FOLDER` with JPEGImages/, Annotations/ and ImageSets/Main/.
    """
    return Recipe(
        name="bccd-retinanet",
        reference=Reference(minibatch_size=2, learning_rate=0.03),
        model=Model("retinanet-resnet18", width=8, arguments={"anchor_sizes": [16, 32, 64, 128, 256]}),
        data=Data("voc", augmentation=("flip",), short_sides=(192,), num_train_samples=205),
        minibatch_size=2,
        worker_minibatch_size=2,
        epochs=10,
        objective="detection",
        metrics=("coco-box-ap",),
        warmup=Warmup("gradual", epochs=1.0),
        schedule=Schedule("cosine"),
        optimizer=Optimizer(weight_decay=1e-4),
        evaluation=Evaluation(part_size=8),
    )


PRESETS: Final[dict[str, Callable[[], Recipe]]] = {
    "digits": digits,
    "fashion-mnist": fashion_mnist,
    "cifar10": cifar10,
    "imagenet-resnet50": imagenet_resnet50,
    "imagenet-resnet101": imagenet_resnet101,
    "imagenette": imagenette,
    "coco-mask-rcnn": coco_mask_rcnn,
    "bccd-retinanet": bccd_retinanet,
    "text-gpt": text_gpt,
}


def find_recipe(name: str) -> Recipe:
    """Return the preset of that name, or read the TOML file.

    Raises:
        InputError: neither a preset nor a file.
    """
    if name in PRESETS:
        return PRESETS[name]()
    path = Path(name)
    if path.suffix == ".toml" or is_file(path):
        return read_recipe(path)
    msg = f"'{name}' is neither a preset nor a TOML file; {nearest(name, list(PRESETS))}"
    raise InputError(msg)
