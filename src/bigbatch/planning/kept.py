"""What a training keeps at every minibatch size, of its model and its data: the values, and why."""

from typing import Final

from bigbatch.recipe import Recipe

HE_2017: Final = "arXiv 1703.06870"  # Mask R-CNN
HOFFER_2017: Final = "arXiv 1705.08741"  # ghost batch normalisation
PAPER: Final = "arXiv 1706.02677"
EVERY: Final = "*"


def kept_values(recipe: Recipe) -> dict[str, str]:
    """Return what starts the model, how it is normalised, and its images or sequences; "" where there is none."""
    norms, sides, data = recipe.model.frozen_norms, recipe.data.short_sides, recipe.data
    return {
        "initial_weights": recipe.model.weights,
        "frozen_batch_norm": ("all" if EVERY in norms else ", ".join(norms)) if norms else "",
        "norm_group": str(recipe.model.norm_group or ""),
        "image_sides": f"{', '.join(map(str, sides))}; at most {recipe.data.long_side}" if sides else "",
        "sequence": f"{data.sequence_length} tokens ({data.tokenizer})" if data.name == "text" else "",
    }


def kept_rules() -> dict[str, str]:
    """Return the reason and the source of each of these values."""
    return {
        "initial_weights": "kept: model.weights; the rest is initialised from the seed",
        "frozen_batch_norm": f"kept: linear layers, whose statistics no worker changes ({HE_2017}, as in detection)",
        "norm_group": (
            f"kept: the result is that of workers of this size, to rounding ({HOFFER_2017}; {PAPER}, section 2.3); "
            "it pays where one large pass takes less time than several small ones"
        ),
        "image_sides": f"kept: the shorter side in pixels, and the most of the longer one ({HE_2017}, section 3.1)",
        "sequence": "kept: a sample; the loss is divided by the tokens of all of them",
    }
