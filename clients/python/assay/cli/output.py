"""What `--out` and `--png` write."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from assay.cli.files import plane
from assay.errors import invalid
from assay.explanation import Explanation
from assay.tensors import Array


def save(path: Path, arrays: Mapping[str, Array]) -> None:
    """Writes arrays as .npz, a lone one also as .npy."""
    plain = {name: array.astype(str) if array.dtype == object else array for name, array in arrays.items()}
    if path.suffix == ".npz":
        # Not np.savez, which can't hold an input that is called "file".
        with zipfile.ZipFile(path, "w") as archive:
            for name, array in plain.items():
                with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                    np.lib.format.write_array(member, array, allow_pickle=False)
    elif len(plain) == 1:
        with path.open("wb") as file:
            np.save(file, next(iter(plain.values())), allow_pickle=False)
    else:
        raise invalid("out", f"there are {len(plain)} arrays ({', '.join(plain)}): a .npz file holds them")


def results(explanation: Explanation) -> dict[str, Array]:
    """What of an explanation is worth a file: its maps, else its features' values, else its rows' scores."""
    if explanation.attributions:
        return explanation.attributions
    if explanation.feature_values is not None:
        return {"feature_values": explanation.feature_values}
    scores = [rows.scores for rows in explanation.rows if rows is not None and rows.scores is not None]
    return {"row_scores": np.stack(scores)} if scores else {}


def need_pillow() -> None:
    """InvalidArgument where it isn't installed."""
    try:
        import PIL  # noqa: F401
    except ImportError as error:
        raise invalid("png", "pictures need pillow: pip install 'onnx-assay[cli]'") from error


def save_pictures(
    path: Path, explanation: Explanation, inputs: Mapping[str, Array], layouts: Mapping[str, str], top: int
) -> None:
    """One picture for each instance, target and input that is an image; else bars of the features that matter most.

    Numbered where there are several. inputs: [B, *input], shown beneath; layouts by input; top: bars in a picture.
    """
    from assay.bars import save_bars
    from assay.overlay import save_overlay

    maps = _maps(explanation, inputs, layouts)
    for number, (attribution, image) in enumerate(maps):
        save_overlay(_numbered(path, number, len(maps)), attribution, image)
    if maps:
        return
    listed = [(i, t) for i in explanation.instances if i.feature_values is not None for t in range(len(i.targets))]
    if not listed:
        raise invalid(
            "png", "no explained input is an image (--layout NCHW or NHWC says which is), and nothing has bars"
        )
    for number, (instance, t) in enumerate(listed):
        title = f"{explanation.model.ref}  {instance.key or f'instance {instance.position}'}  {instance.targets[t]}"
        save_bars(_numbered(path, number, len(listed)), instance.top_reasons(top, target=t), title=title)


def _maps(
    explanation: Explanation, inputs: Mapping[str, Array], layouts: Mapping[str, str]
) -> list[tuple[Array, Array | None]]:
    """The maps [H, W] and the images [H, W] they belong to."""
    found = []
    for name, maps in explanation.attributions.items():
        layout = layouts.get(name, layouts.get("", "")).upper()
        for i, (instance, values) in enumerate(zip(explanation.instances, maps, strict=True)):
            image = plane(np.asarray(inputs[name][i], np.float64), layout) if name in inputs else None
            for one in values if len(instance.targets) > 1 else values[None]:
                attribution = plane(one, layout)
                if attribution is not None:
                    found.append((attribution, image))
    return found


def _numbered(path: Path, number: int, count: int) -> Path:
    return path if count == 1 else path.with_name(f"{path.stem}-{number}{path.suffix}")
