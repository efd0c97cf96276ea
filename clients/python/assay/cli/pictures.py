"""What `--png` writes: maps over images, else bars."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from assay.cli.elements import drawn, maps_of
from assay.cli.files import plane
from assay.cli.shown import Shown
from assay.errors import invalid
from assay.explanation import Explanation, Instance
from assay.reasons import Reason
from assay.tensors import Array


@dataclass(frozen=True, eq=False)
class _Map:
    """A map [H, W] and the image [H, W] beneath it, or None."""

    attribution: Array
    image: Array | None
    title: str = ""

    def save(self, path: Path) -> None:
        from assay.overlay import save_overlay

        save_overlay(path, self.attribution, self.image, self.title)


@dataclass(frozen=True, eq=False)
class _Bars:
    reasons: Sequence[Reason]
    title: str

    def save(self, path: Path) -> None:
        from assay.bars import save_bars

        save_bars(path, self.reasons, title=self.title)


def save_pictures(path: Path, explanation: Explanation, shown: Shown, layouts: Mapping[str, str]) -> None:
    """One picture for each instance, target and input that is an image; else bars of the features that matter most.

    Of a Jacobian, one for each element of the outputs that was asked for, else for the largest of each output. Numbered
    where there are several. layouts: by input.
    """
    pictures: Sequence[_Map | _Bars] = _maps(explanation, shown, layouts)
    if not pictures:
        pictures = [p for instance in explanation.instances for p in _of_instance(instance, shown, layouts)]
    if not pictures:
        raise invalid("png", "there is nothing to draw: no instance has values of features or a map over an image")
    for number, picture in enumerate(pictures):
        picture.save(_numbered(path, number, len(pictures)))


def _maps(explanation: Explanation, shown: Shown, layouts: Mapping[str, str]) -> list[_Map]:
    """The maps of a method that has one for each target."""
    found = []
    for name, maps in explanation.attributions.items() if not explanation.jacobian else ():
        for instance, values in zip(explanation.instances, maps, strict=True):
            image = _image(instance, name, shown, layouts)
            for one in values if len(instance.targets) > 1 else values[None]:
                attribution = plane(one, _layout(name, layouts))
                if attribution is not None:
                    found.append(_Map(attribution, image))
    return found


def _of_instance(instance: Instance, shown: Shown, layouts: Mapping[str, str]) -> list[_Map | _Bars]:
    """Bars of its values; of a Jacobian maps or bars for each element of the outputs that is drawn."""
    title = f"{shown.model.ref}  {instance.key or f'instance {instance.position}'}"
    if instance.feature_values is not None:
        listed = ((instance.top_reasons(max(shown.top, 1), target=t), t) for t in range(len(instance.targets)))
        return [_Bars(shown.with_x(instance, reasons), f"{title}  {instance.targets[t]}") for reasons, t in listed]
    found: list[_Map | _Bars] = []
    for element in drawn(instance, shown.model, shown.wanted):
        own = f"{title}  derivatives of {element.target}"
        maps = maps_of(instance.jacobian[element.target.output], element.target.index)
        planes = {name: plane(values, _layout(name, layouts)) for name, values in maps.items()}
        found += [
            _Map(values, _image(instance, name, shown, layouts), own)
            for name, values in planes.items()
            if values is not None
        ] or [_Bars(shown.slopes(instance, element), own)]
    return found


def _image(instance: Instance, name: str, shown: Shown, layouts: Mapping[str, str]) -> Array | None:
    x = shown.rows.get(instance.position, {})
    return plane(np.asarray(x[name], np.float64), _layout(name, layouts)) if name in x else None


def _layout(name: str, layouts: Mapping[str, str]) -> str:
    return layouts.get(name, layouts.get("", "")).upper()


def _numbered(path: Path, number: int, count: int) -> Path:
    return path if count == 1 else path.with_name(f"{path.stem}-{number}{path.suffix}")
