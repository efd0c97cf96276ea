"""Arrays and images on disk as a model's inputs."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from assay.errors import invalid
from assay.models import Model, TensorInfo
from assay.tensors import Array

_FILE = re.compile(
    r"(?P<path>.+?\.(?P<kind>npy|npz|png|jpe?g))(?::(?P<array>[^\[\]]+))?(?:\[(?P<pick>[\d:]+)\])?", re.IGNORECASE
)


def load_array(text: str) -> Array:
    """The array of "FILE.npy" or "FILE.npz[:array]", with "[3]" or "[2:5]" behind it to pick along its first axis.

    InvalidArgument where the name says nothing of that kind or the file doesn't hold it; OSError where it can't be
    read.
    """
    match = _FILE.fullmatch(text)
    if not match or match["kind"].lower() not in ("npy", "npz"):
        raise invalid("input", f"{text!r} is no .npy or .npz file, such as digits.npz:images[3]")
    try:
        loaded = np.load(match["path"], allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise invalid("input", f"{match['path']} can't be read: {error}") from error
    if isinstance(loaded, np.ndarray):
        if match["array"]:
            raise invalid("input", f"{match['path']} holds one array and no names")
        array: Array = loaded
    else:
        with loaded:
            array = loaded[_member(loaded.files, match["array"], match["path"])]
    return _picked(array, match["pick"], text) if match["pick"] else array


def load_inputs(specs: Sequence[str], model: Model, layouts: Mapping[str, str]) -> dict[str, Array]:
    """{input name: array with the batch axis} of "[NAME=]FILE" each; the name may be left out for a one-input model.

    An array that lacks just the batch axis gets it, and floating arrays the model's precision. Images become the
    input's layout; they are never resized.
    """
    inputs: dict[str, Array] = {}
    known = {info.name: info for info in model.inputs}
    for spec in specs:
        name, _, file = spec.rpartition("=")
        if not name and len(known) == 1:
            name = model.inputs[0].name
        if name not in known:
            raise invalid("input", f"{spec!r} names none of the inputs of {model.ref}: {', '.join(known)}")
        info = known[name]
        layout = layouts.get(name, layouts.get("", "")).upper()
        inputs[name] = _converted(_read(file, info, layout), info)
    return inputs


def columns_of(pairs: Sequence[tuple[str, Sequence[str]]] | None, model: Model) -> dict[str, Sequence[str]]:
    """`--columns` by input; the name may be left out for a one-input model."""
    found = dict(pairs or ())
    if "" in found:
        if len(model.inputs) != 1:
            names = ", ".join(info.name for info in model.inputs)
            raise invalid("columns", f"{model.ref} has several inputs ({names}): --columns INPUT=a,b,c")
        found[model.inputs[0].name] = found.pop("")
    return found


def plane(array: Array, layout: str) -> Array | None:
    """An instance as [H, W], the mean over its channels; None where it is no picture."""
    if array.ndim == 2 and layout in ("", "NCHW", "NHWC"):
        return array
    if array.ndim != 3 or layout not in ("", "NCHW", "NHWC"):
        return None
    channels = {"NCHW": 0, "NHWC": 2}.get(layout)
    if channels is None:  # not stated: the axis that has as many as images have channels
        channels = next((axis for axis in (0, 2) if array.shape[axis] in (1, 3)), None)
    return None if channels is None else array.mean(axis=channels)


def _member(names: Sequence[str], wanted: str | None, path: str) -> str:
    if wanted is None and len(names) == 1:
        return names[0]
    if wanted is None or wanted not in names:
        raise invalid("input", f"{path} holds {', '.join(names)}: name one, as in {path}:{names[0] if names else 'x'}")
    return wanted


def _picked(array: Array, pick: str, text: str) -> Array:
    start, colon, stop = pick.partition(":")
    try:
        if not colon:
            return np.asarray(array[int(start)])
        return array[int(start) if start else None : int(stop) if stop else None]
    except (IndexError, ValueError) as error:
        raise invalid("input", f"{text}: {error}") from error


def _read(file: str, info: TensorInfo, layout: str) -> Array:
    match = _FILE.fullmatch(file)
    if match and match["kind"].lower() in ("png", "jpg", "jpeg"):
        return _image(Path(match["path"]), info, layout)
    array = load_array(file)
    return array[None] if array.ndim == len(info.shape) else array


def _converted(array: Array, info: TensorInfo) -> Array:
    if array.dtype.kind == "f" and info.dtype in ("float16", "float32", "float64") and array.dtype.name != info.dtype:
        print(f"assay: input {info.name}: {array.dtype} made {info.dtype}", file=sys.stderr)
        return array.astype(info.dtype)
    return array


def _image(path: Path, info: TensorInfo, layout: str) -> Array:
    """An image as one instance [1, *input]: floats in 0..1, or bytes where the input holds bytes."""
    from PIL import Image, UnidentifiedImageError

    if layout not in ("NCHW", "NHWC") or len(info.shape) != 3:
        raise invalid("layout", f"input {info.name!r} isn't known to be an image; --layout NCHW or NHWC says so")
    channels, height, width = (info.shape[i] for i in ((0, 1, 2) if layout == "NCHW" else (2, 0, 1)))
    mode = {1: "L", 3: "RGB", 4: "RGBA", -1: "RGB"}.get(channels)
    if mode is None:
        raise invalid("input", f"input {info.name!r} has {channels} channels, which no image has")
    try:
        with Image.open(path) as image:
            pixels = np.asarray(image.convert(mode)).reshape(image.height, image.width, -1)
    except UnidentifiedImageError as error:
        raise invalid("input", f"{path} is no image") from error
    for axis, wanted, found in (("high", height, pixels.shape[0]), ("wide", width, pixels.shape[1])):
        if wanted not in (-1, found):
            said = f"{path} is {found} pixels {axis}, input {info.name!r} wants {wanted}"
            raise invalid("input", f"{said}; resize it first, since how matters to the model")
    if layout == "NCHW":
        pixels = pixels.transpose(2, 0, 1)
    return pixels[None] if info.dtype == "uint8" else (pixels[None] / np.float32(255)).astype(np.float32)
