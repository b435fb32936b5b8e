"""torchvision's detectors over our residual networks: Mask R-CNN, Faster R-CNN, RetinaNet and FCOS.

The heads and the feature pyramid are torchvision's; all channels scale with the network's width. What a classifier of
the same depth and width has learned fits under the names `backbone.body.`.
"""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Final

from torch import Tensor, nn

from bigbatch.errors import InputError
from bigbatch.models.libraries import check_arguments_of, load_library, parameters_of
from bigbatch.models.resnet import ResNet, imagenet_resnet
from bigbatch.models.torchvision_detectors import keep_image_sizes

NUM_LEVELS: Final = 5  # of the pyramid
WIDTH: Final = 64  # of the networks that the heads' channels were chosen for
PYRAMID, REPRESENTATION = 256, 1024  # channels at that width
RESOLUTION: Final = 7  # of a box's features
ASPECT_RATIOS: Final = (0.5, 1.0, 2.0)
ANCHOR_SIZES: Final = {"fcos": (8, 16, 32, 64, 128)}  # of FCOS its strides
ANCHORS: Final = (32, 64, 128, 256, 512)
CLASSES: Final = {"mask-rcnn": "MaskRCNN", "faster-rcnn": "FasterRCNN", "retinanet": "RetinaNet", "fcos": "FCOS"}
FCOS_GROUPS: Final = 32  # of its group normalisation
GROUP: Final = 8  # channels that RetinaNet's heads normalise together
RGB: Final = 3


def build_detector(
    head: str,
    depth: int,
    *,
    num_classes: int,
    in_channels: int = RGB,
    width: int = 0,
    zero_gamma: bool = True,
    arguments: Mapping[str, object],
) -> nn.Module:
    """Build a detector.

    Args:
        head: "mask-rcnn", "faster-rcnn", "retinanet" or "fcos".
        depth: of the residual network: 18, 34, 50 or 101.
        num_classes: of the objects, and one for the background.
        in_channels: of the images: 3, or 0 if the data does not say.
        width: channels of the network's first stage; 0 is 64, and 256 channels of the pyramid.
        zero_gamma: start each residual block as the identity.
        arguments: keyword arguments of torchvision's class, and `anchor_sizes`: one for each of the five levels, in
            pixels.

    Raises:
        InputError: torchvision is missing, or the arguments do not fit.
    """
    detection = load_library("torchvision.models.detection")
    name = f"{head}-resnet{depth}"
    if not num_classes or in_channels not in {0, RGB}:
        msg = f"'{name}' needs images of 3 channels, and a training dataset with `classes`, the background first"
        raise InputError(msg)
    width = width or WIDTH
    if head == "fcos" and _scaled(PYRAMID, width) % (2 * FCOS_GROUPS):  # a group of one channel has no variance
        msg = f"'{name}' needs a model.width of a multiple of 16: its normalisation has {FCOS_GROUPS} groups"
        raise InputError(msg)
    own = {"anchor_sizes": ANCHOR_SIZES.get(head, ANCHORS)} | dict(arguments)
    sizes = _checked_sizes(own.pop("anchor_sizes"))
    kind = getattr(detection, CLASSES[head])
    check_arguments_of(name, own, parameters_of(*kind.__mro__), also=("anchor_sizes",))
    network = imagenet_resnet(depth, num_classes=1, width=width, zero_gamma=zero_gamma)
    backbone = Pyramid(network, _scaled(PYRAMID, width), is_dense=head in {"retinanet", "fcos"})
    detector = kind(backbone, **_heads(head, sizes, width, num_classes), **own)
    if head != "fcos":  # whose boxes end in a ReLU, which larger weights may kill
        _keep_signal(detector.rpn.head if hasattr(detector, "rpn") else detector.head, width)
    return keep_image_sizes(detector, arguments)


class Body(nn.Module):
    """A residual network without its classifier, which returns what some of its stages give."""

    def __init__(self, network: ResNet, first_stage: int) -> None:
        super().__init__()
        self.stem, self.stages, self.first_stage = network.stem, network.stages, first_stage

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Return the features of the stages from the first one on, by "0", "1" and so on."""
        x, features = self.stem(images), []
        for stage in self.stages:
            x = stage(x)
            features.append(x)
        return OrderedDict((str(i), feature) for i, feature in enumerate(features[self.first_stage :]))


class Pyramid(nn.Module):
    """A residual network with a feature pyramid of five levels (arXiv 1612.03144).

    Args:
        network: whose stages are taken.
        out_channels: of every level.
        is_dense: leave out the first stage, and end with two levels of their own, as in RetinaNet; otherwise end with
            a halved copy of the last level, as in Faster R-CNN.
    """

    def __init__(self, network: ResNet, out_channels: int, *, is_dense: bool) -> None:
        pyramid = load_library("torchvision.ops.feature_pyramid_network")
        super().__init__()
        first_stage = 1 if is_dense else 0
        channels = [stage[-1].out_channels for stage in network.stages][first_stage:]  # type: ignore[index]
        last = pyramid.LastLevelP6P7(out_channels, out_channels) if is_dense else pyramid.LastLevelMaxPool()
        self.body = Body(network, first_stage)
        self.fpn = pyramid.FeaturePyramidNetwork(channels, out_channels, last)
        self.out_channels = out_channels

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Return the levels, from the finest to the coarsest."""
        levels: dict[str, Tensor] = self.fpn(self.body(images))
        return levels


def _heads(head: str, sizes: Sequence[float], width: int, num_classes: int) -> dict[str, Any]:
    """Return what torchvision's class is given besides the backbone: its anchors, and its heads of this width."""
    AnchorGenerator = load_library("torchvision.models.detection.anchor_utils").AnchorGenerator  # noqa: N806 - a class
    if head in {"retinanet", "fcos"}:
        thirds, ratios = ((0, 1, 2), ASPECT_RATIOS) if head == "retinanet" else ((0,), (1.0,))
        per_level = tuple(tuple(int(size * 2 ** (third / 3)) for third in thirds) for size in sizes)
        dense = {"num_classes": num_classes, "anchor_generator": AnchorGenerator(per_level, (ratios,) * NUM_LEVELS)}
        return dense | (_retinanet_heads(width, num_classes) if head == "retinanet" else {})
    anchors = AnchorGenerator(tuple((size,) for size in sizes), (ASPECT_RATIOS,) * NUM_LEVELS)
    heads = {"rpn_anchor_generator": anchors, **_box_heads(width, num_classes)}
    return heads | (_mask_heads(width, num_classes) if head == "mask-rcnn" else {})


def _retinanet_heads(width: int, num_classes: int) -> dict[str, Any]:
    """Return the heads of torchvision's second RetinaNet: with group normalisation, and the loss of generalised IoU."""
    retinanet = load_library("torchvision.models.detection.retinanet")
    channels, num_anchors = _scaled(PYRAMID, width), 3 * len(ASPECT_RATIOS)
    norm = partial(nn.GroupNorm, max(1, channels // GROUP))
    head = retinanet.RetinaNetHead(channels, num_anchors, num_classes, norm_layer=norm)
    head.regression_head._loss_type = "giou"  # noqa: SLF001 - as torchvision sets it
    return {"head": head}


def _box_heads(width: int, num_classes: int) -> dict[str, Any]:
    faster_rcnn = load_library("torchvision.models.detection.faster_rcnn")
    features = _scaled(PYRAMID, width) * RESOLUTION**2
    representation = _scaled(REPRESENTATION, width)
    return {
        "box_head": faster_rcnn.TwoMLPHead(features, representation),
        "box_predictor": faster_rcnn.FastRCNNPredictor(representation, num_classes),
    }


def _mask_heads(width: int, num_classes: int) -> dict[str, Any]:
    mask_rcnn = load_library("torchvision.models.detection.mask_rcnn")
    channels = _scaled(PYRAMID, width)
    return {
        "mask_head": mask_rcnn.MaskRCNNHeads(channels, (channels,) * 4, 1),
        "mask_predictor": mask_rcnn.MaskRCNNPredictor(channels, channels, num_classes),
    }


def _keep_signal(head: nn.Module, width: int) -> None:
    """Scale first weights of N(0, 0.01), which suit 256 channels, so that fewer pass on as much of a signal."""
    for module in head.modules():
        if isinstance(module, nn.Conv2d):
            module.weight.data.mul_((WIDTH / width) ** 0.5)


def _scaled(channels: int, width: int) -> int:
    return channels * width // WIDTH


def _checked_sizes(sizes: object) -> Sequence[float]:
    if (
        isinstance(sizes, list | tuple)
        and len(sizes) == NUM_LEVELS
        and all(isinstance(size, int | float) and size > 0 for size in sizes)
    ):
        return sizes
    msg = f"model.arguments: anchor_sizes must be {NUM_LEVELS} numbers of pixels, one for each level, not {sizes}"
    raise InputError(msg)
