"""Which operators of a program run on the device, and which beside it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

_COPIES = frozenset({"MemcpyFromHost", "MemcpyToHost"})
_SHAPES = frozenset({
    "Add", "Cast", "Concat", "ConstantOfShape", "Div", "Gather", "Mul", "Range", "Reshape", "Shape", "Size", "Slice",
    "Squeeze", "Sub", "Unsqueeze",
})  # fmt: skip
"""What shapes are computed with. onnxruntime keeps that on the host on purpose, where it costs nothing."""


@dataclass(frozen=True)
class Placement:
    """Operators by kind and number. device: on the provider that was taken. host: on the CPU beside it; none where that
    provider is the CPU.
    """

    device: tuple[tuple[str, int], ...]
    host: tuple[tuple[str, int], ...]

    @staticmethod
    def of(provider: str, nodes: Iterable[tuple[str, str]]) -> Placement:
        """From each node's provider and operator."""
        counts: tuple[Counter[str], Counter[str]] = (Counter(), Counter())
        for where, kind in nodes:
            if kind not in _COPIES:
                counts[where != provider][kind] += 1
        device, host = (tuple(sorted(count.items())) for count in counts)
        return Placement(device, host)

    @property
    def computed_on_host(self) -> tuple[str, ...]:
        """Kinds of operators on the host that do more than find shapes: each costs copies there and back."""
        return tuple(kind for kind, _ in self.host if kind not in _SHAPES)

    def has(self, *kinds: str) -> bool:
        """Whether one of these operators runs on the device."""
        return any(kind in kinds for kind, _ in self.device)
