"""The buffers of a model: where they lie, how they move side by side, and whether their bits have changed."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from operator import is_
from typing import Final, Self

import torch
from torch import Tensor, nn

from bigbatch.errors import InputError
from bigbatch.processes.group import dense_parts
from bigbatch.reduction.local_sum import FlatLayout

INTEGERS: Final = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
FIRST_WEIGHT, WEIGHT_STEP, MIXER = 0x1F83D9ABFB41BD6B, 0x1E3779B97F4A7C15, 0x3F58476D1CE4E5B9  # any large odd numbers
PIECE: Final = 1 << 20  # elements that are hashed at once
CHUNKS: Final = 4  # of 16 bits: the sum of their squares over 2 million workers is exact in float64


@dataclass(frozen=True)
class Place:
    """Where a module keeps a buffer."""

    module: nn.Module
    key: str

    def get(self) -> Tensor | None:
        """Return what lies there, or None."""
        buffers = self.module._buffers  # noqa: SLF001 - also those that the forward pass has just made
        return buffers[self.key] if self.key in buffers else None  # noqa: SIM401 - a ScriptModule's have no get

    def put(self, buffer: Tensor | None) -> None:
        """Let this very tensor lie there, or None."""
        self.module._buffers[self.key] = buffer  # noqa: SLF001

    def remove(self) -> None:
        """Forget that there was a buffer of this name."""
        self.module._buffers.pop(self.key, None)  # noqa: SLF001


def places_of(model: nn.Module) -> Iterator[tuple[str, Place]]:
    """Yield where the buffers lie, by their names."""
    for prefix, module in model.named_modules():
        # A shared one comes by each of its names, and so do places that are empty yet.
        for key in module._buffers.keys():  # noqa: SIM118, SLF001 - a ScriptModule's can only be iterated so
            yield f"{prefix}.{key}".lstrip("."), Place(module, key)


@dataclass(frozen=True)
class Constant:
    """A buffer that no pass changes, as it was at one time.

    Torch counts the writes to a tensor. Only after one are its bits looked at, as they may be the same again. So a step
    neither copies nor compares a constant.

    Attributes:
        buffer: the tensor, or None.
        writes: torch's count.
        bits: its fingerprint.
    """

    buffer: Tensor | None
    writes: int
    bits: Tensor

    @classmethod
    def of(cls, buffer: Tensor | None, device: torch.device) -> Self:
        """Return a buffer as it is now; its fingerprint is on that device."""
        return cls(buffer, _count_writes(buffer), fingerprint(buffer, device))

    def is_untouched(self, now: Tensor | None) -> bool:
        """Tell whether this very tensor is there, and torch has not written to it."""
        return now is self.buffer and _count_writes(now) == self.writes

    def is_same(self, now: Tensor | None) -> bool:
        """Tell whether this very tensor is there, with its bits."""
        if now is not self.buffer:
            return False
        return self.is_untouched(now) or torch.equal(fingerprint(now, self.bits.device), self.bits)


def _count_writes(buffer: Tensor | None) -> int:
    return 0 if buffer is None or buffer.is_inference() else buffer._version  # noqa: SLF001 - torch's documented way


class SideBySide:
    """Batch normalisation's buffers, moved into two stretches of memory: statistics, and counters.

    To put all of them back, or to see what a pass has added, is then one operation. The modules keep their own tensors;
    only what these hold has moved. There is a stretch for each dtype.

    Args:
        places: where the modules keep them, by name: distinct tensors, on one device.

    Attributes:
        statistics: the stretches of floating-point numbers, as they are now.
    """

    def __init__(self, places: Mapping[str, Place]) -> None:
        self.names = list(places)
        self.registries = [place.module._buffers for place in places.values()]  # noqa: SLF001 - see `Place`
        self.keys = [place.key for place in places.values()]
        layout = FlatLayout([buffer for buffer in self._held() if buffer is not None])
        flat = layout.empty()
        self.now, self.views, self.start = flat.buffers, flat.views, layout.empty().buffers
        self.statistics = [now for now in self.now if now.is_floating_point()]
        self.starts = [start for start in self.start if start.is_floating_point()]
        self.pointers = [view.data_ptr() for view in self.views]
        self.begin()

    def begin(self) -> None:
        """Remember what the buffers hold. Those that have been replaced since the last step move in, too."""
        self.buffers = self._held()
        self.gather()
        for start, now in zip(self.start, self.now, strict=True):
            start.copy_(now)

    def restore(self) -> None:
        """Let the buffers hold again what they held when the step began."""
        self.gather()
        for now, start in zip(self.now, self.start, strict=True):
            now.copy_(start)

    def changes(self) -> list[Tensor]:
        """Return what a pass has added to the statistics."""
        self.gather()
        return [now - start for now, start in zip(self.statistics, self.starts, strict=True)]

    def add(self, changes: Sequence[Tensor]) -> None:
        """Let the statistics be what they were when the step began, plus these changes."""
        self.gather()
        for now, start, change in zip(self.statistics, self.starts, changes, strict=True):
            torch.add(start, change, out=now)

    def gather(self) -> None:
        """Move in what lies in the place of a buffer, or what a buffer holds that lies elsewhere.

        Raises:
            InputError: it is gone, or has another shape or dtype.
        """
        held = self._held()
        if all(map(is_, held, self.buffers)) and [*map(Tensor.data_ptr, held)] == self.pointers:  # type: ignore[arg-type]
            return
        for name, registry, key, view, buffer, now in zip(
            self.names, self.registries, self.keys, self.views, self.buffers, held, strict=True
        ):
            if buffer is None or now is None or (now.shape, now.dtype) != (view.shape, view.dtype):
                msg = f"the model's buffer '{name}' has been removed, or has another shape or dtype; make a new Step"
                raise InputError(msg)
            if now.data_ptr() != view.data_ptr():
                view.copy_(now.detach())
            buffer.data = view
            registry[key] = buffer

    def _held(self) -> list[Tensor | None]:
        """Return what lies in the places now."""
        return [*map(dict.get, self.registries, self.keys)]


def names_of_shared(model: nn.Module) -> set[str]:
    """Return the names of the buffers that share memory with another one, or with a parameter."""
    held = [(name, place.get()) for name, place in places_of(model)]
    held += [("", parameter) for parameter in model.parameters()]
    stretches = sorted(
        (part.data_ptr(), part.data_ptr() + part.nbytes, name)
        for name, tensor in held
        if tensor is not None
        for part in dense_parts(tensor.detach())
    )
    pairs = [(a, b) for (_, end, a), (start, _, b) in pairwise(stretches) if start < end]
    return {name for pair in pairs for name in pair}


def fingerprint(buffer: Tensor | None, device: torch.device) -> Tensor:
    """Return a hash of a buffer's shape and bits in chunks of 16 bits, and their squares; float64, on the device."""
    total = torch.zeros((), dtype=torch.int64, device=device)
    if buffer is not None:
        total += hash((buffer.element_size(), *buffer.shape)) | 1
        for part in dense_parts(buffer.detach()):
            total = total * MIXER + _hash(part).to(device)
    shifts = 16 * torch.arange(CHUNKS, device=device)
    chunks = ((total >> shifts) & 0xFFFF).double()
    return torch.cat([chunks, chunks * chunks])


def _hash(tensor: Tensor) -> Tensor:
    """Return the sum of the elements as integers, each times a weight of its place; int64, which wraps around."""
    total = torch.zeros((), dtype=torch.int64, device=tensor.device)
    for number, piece in enumerate(torch.split(integers(tensor).flatten(), PIECE)):
        places = torch.arange(number * PIECE, number * PIECE + len(piece), device=piece.device)
        weights = (FIRST_WEIGHT + places * WEIGHT_STEP) * MIXER
        total += (piece * ((weights ^ (weights >> 29)) * MIXER | 1)).sum()
    return total


def integers(tensor: Tensor) -> Tensor:
    """Return the elements' bits as integers."""
    real = torch.view_as_real(tensor.resolve_conj()) if tensor.is_complex() else tensor
    return real if real.dtype == torch.bool else real.resolve_neg().view(INTEGERS[real.element_size()])
