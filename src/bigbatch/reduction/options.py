"""How gradients are summed over the processes: what a user may choose. Without torch."""

from dataclasses import dataclass
from typing import Final

from bigbatch.errors import InputError, nearest

# Each keeps the canonical tree: the same bits.
EXACT_ALGORITHMS: Final = ("halving-doubling", "direct", "three-phase", "hierarchical")
NATIVE: Final = "native"
AUTO: Final = "auto"
ALL_REDUCES: Final = (AUTO, *EXACT_ALGORITHMS, NATIVE)
COMPRESSIONS: Final = ("none", "bfloat16")
LARGEST_BUCKET_MB: Final = 1024.0
FIRST_BUCKET_MB: Final = 1.0  # the most; as DistributedDataParallel's own is


@dataclass(frozen=True)
class AggregationOptions:
    """How gradients are summed over the processes. The bits depend on none of it, but for "native".

    Attributes:
        all_reduce: the algorithm: "auto" (the fastest exact one by size), "halving-doubling", "direct", "three-phase",
            "hierarchical", or "native" for the backend's own, whose bits depend on the processes.
        bucket_mb: about how large the buckets are in which gradients leave during backpropagation, in MiB. The first is
            smaller: see `bucket_sizes`.
        overlap: let buckets leave during backpropagation; otherwise after it.
        compression: "none", or "bfloat16" to send gradients rounded: not exact, for "native" with overlap only.

    Raises:
        InputError: an unknown word, no possible size, or compression of a sum that is to be exact.
    """

    all_reduce: str = AUTO
    bucket_mb: float = 4.0
    overlap: bool = True
    compression: str = "none"

    def __post_init__(self) -> None:
        for name, known in {"all_reduce": ALL_REDUCES, "compression": COMPRESSIONS}.items():
            if getattr(self, name) not in known:
                msg = f"{name} '{getattr(self, name)}' is unknown; {nearest(getattr(self, name), list(known))}"
                raise InputError(msg)
        if not 0 < self.bucket_mb <= LARGEST_BUCKET_MB:
            msg = f"bucket_mb must lie above 0 and be at most {LARGEST_BUCKET_MB:g}, not {self.bucket_mb:g}"
            raise InputError(msg)
        if self.compression != "none" and not (self.all_reduce == NATIVE and self.overlap):
            msg = f"compression {self.compression} is not exact; it needs the native all-reduce, and overlap"
            raise InputError(msg)


def bucket_sizes(num_bytes: int, bucket_mb: float) -> tuple[float, ...]:
    """Return the sizes of the first buckets, in MiB; all others are as large as the last of these.

    The first to be full is a small one: until it leaves, nothing is hidden behind backpropagation.

    Args:
        num_bytes: of all gradients.
        bucket_mb: the size that was chosen.

    >>> bucket_sizes(100 << 20, 4.0), bucket_sizes(3 << 20, 4.0)
    ((1.0, 4.0), (4.0,))
    """
    is_one = num_bytes <= bucket_mb * (1 << 20)
    return (bucket_mb,) if is_one else (min(FIRST_BUCKET_MB, bucket_mb / 4), bucket_mb)
