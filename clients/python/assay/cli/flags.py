"""Flags made from the method classes, one a parameter: parsed by its type, described by the class's docstring."""

from __future__ import annotations

import argparse
import dataclasses
import inspect
import re
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from assay.baselines import Baseline, GaussianBlur, MeanBaseline, SegmentMean
from assay.cli.files import load_array
from assay.cli.training import TrainingRows, add_training_flags, need_rows
from assay.errors import AssayError, invalid
from assay.features import Elements, Features, Grid, Groups, Segments, Superpixels
from assay.methods import Interval, Method, Occlusion, Sampling, Scale, Sizes
from assay.models import Model
from assay.statistics import GaussianTable, QuartileTable
from assay.targets import Target
from assay.tensors import Array, is_digest


def add_method_flags(group: argparse._ArgumentGroup, method: type[Method]) -> str:
    """Adds a flag for each parameter of a method; returns what there is to say of their values."""
    hints = typing.get_type_hints(method)
    texts = parameter_docs(method)
    notes: dict[str, str] = {}
    for parameter in dataclasses.fields(method):
        required = parameter.default is dataclasses.MISSING
        flag, text = "--" + parameter.name.replace("_", "-"), texts[parameter.name].replace("%", "%%")
        if isinstance(parameter.default, (str, float)):
            text += f" ({parameter.default})"
        kind, by_input = _unwrapped(hints[parameter.name])
        options: dict[str, Any] = {"dest": _dest(parameter.name), "help": text}
        if kind is bool:
            group.add_argument(flag, action=argparse.BooleanOptionalAction, default=None, **options)
        elif typing.get_origin(kind) is Literal:
            group.add_argument(flag, choices=typing.get_args(kind), required=required, **options)
        else:
            parse, metavar = _PARSERS[kind]
            if metavar in _NOTES:
                notes[metavar] = _NOTES[metavar]
            if by_input:
                options |= {"action": "append"}
                parse, metavar = per_input(parse), f"[INPUT=]{metavar}"
            group.add_argument(flag, type=_told(parse), metavar=metavar, required=required, **options)
        if kind == Sampling:
            add_training_flags(group)
    return " ".join(f"{metavar} is {text}." for metavar, text in notes.items())


def method_of(args: argparse.Namespace, model: Model) -> Method:
    """The method that the flags of `add_method_flags` say; a flag that wasn't given leaves its default.

    model: the one it is for, which knows what the columns of training rows are.
    """
    kind: type[Method] = args.method
    given: dict[str, Any] = {}
    for parameter in dataclasses.fields(kind):
        value = getattr(args, _dest(parameter.name))
        if value is not None:
            given[parameter.name] = joined(value) if isinstance(value, list) else value
    rows = given.get("sampling")
    if isinstance(rows, TrainingRows):
        given["sampling"] = rows.fit(model, args)
    else:
        need_rows(args)
    return kind(**given)


def need_window(args: argparse.Namespace) -> None:
    """InvalidArgument for occlusion of nothing, or of two things."""
    if args.method is Occlusion and (args.method_window is None) == (args.method_features is None):
        which = "either --window, which slides over images and series (such as 8,8)"
        raise invalid("window", f"occlusion takes {which}, or --features, such as elements, each column of a table")


def parameter_docs(method: type[Method]) -> dict[str, str]:
    """Parameter -> its text in the "Attributes:" section of the class's docstring."""
    texts: dict[str, str] = {}
    name = ""
    for line in inspect.cleandoc(method.__doc__ or "").partition("Attributes:\n")[2].splitlines():
        if match := re.fullmatch(r" {4}(\w+): (.*)", line):
            name, text = match.groups()
            texts[name] = text
        elif name and line.startswith(" " * 8):
            texts[name] += " " + line.strip()
    return {name: text.removesuffix(".") for name, text in texts.items()}


def joined(pairs: Sequence[tuple[str, Any]]) -> Any:
    """What a flag that may be given for each input says: the value alone, or {input: value}."""
    return pairs[0][1] if [name for name, _ in pairs] == [""] else dict(pairs)


def per_input(parse: Callable[[str], Any]) -> Callable[[str], tuple[str, Any]]:
    """A parser of "[INPUT=]VALUE", giving (input or "", value)."""

    def pair(text: str) -> tuple[str, Any]:
        name, equals, value = text.rpartition("=")
        return (name, parse(value)) if equals else ("", parse(text))

    return pair


_WHICH = re.compile(
    r"(?:(?P<output>.+?):)??(?:(?P<index>-?\d+(?:,-?\d+)*)|label=(?P<label>.*)|top=(?P<rank>\d+)|(?P<only>))"
)


def target(text: str) -> Target:
    """Parses "[OUTPUT:]WHICH"; WHICH is an index, `label=…`, `top=…`, or nothing: the only or largest element."""
    match = _WHICH.fullmatch(text)
    if not match:
        raise argparse.ArgumentTypeError(f"{text!r} is none of 3, 1,2, label=cat, top=1, with OUTPUT: before it or not")
    index = tuple(_numbers(match["index"])) if match["index"] else None
    rank = int(match["rank"]) if match["rank"] else None
    return Target(match["output"], index if index is None or len(index) > 1 else index[0], match["label"], rank)


def _dest(name: str) -> str:
    return f"method_{name}"  # apart from the flags that all methods share


def _unwrapped(hint: Any) -> tuple[Any, bool]:
    """The type of one value, and whether it may be given for each input: T of T | None and of PerInput[T]."""
    for part in typing.get_args(hint):
        if typing.get_origin(part) is typing.get_origin(Mapping[str, Any]):
            return typing.get_args(part)[1], True
    parts = tuple(part for part in typing.get_args(hint) if part is not type(None))
    if typing.get_origin(hint) is Literal or len(parts) == len(typing.get_args(hint)):
        return hint, False
    return (parts[0] if len(parts) == 1 else typing.Union[parts]), False  # noqa: UP007


def _told(parse: Callable[[str], Any]) -> Callable[[str], Any]:
    """The parser with errors that argparse shows as they are."""

    def checked(text: str) -> Any:
        try:
            return parse(text)
        except OSError as error:
            said = f"{error.filename}: {error.strerror}" if error.filename and error.strerror else str(error)
            raise argparse.ArgumentTypeError(said) from error
        except (AssayError, ValueError) as error:
            raise argparse.ArgumentTypeError(str(error)) from error

    return checked


def _numbers(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise ValueError(f"{text!r} is no list of integers such as 8,8") from None


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"{text!r} is no number") from None


def _whole(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ValueError(f"{text!r} is no integer") from None


def _scale(text: str) -> float | Array:
    return load_array(text) if text.endswith((".npy", ".npz")) else _number(text)


def _interval(text: str) -> tuple[float | Array | None, float | Array | None]:
    lower, comma, upper = text.partition(",")
    if not comma:
        raise ValueError(f"{text!r} is no LOWER,UPPER; either may be left out")
    return (_scale(lower) if lower else None, _scale(upper) if upper else None)


def _baseline(text: str) -> Baseline:
    kind, _, rest = text.partition(":")
    if kind == "mean":
        return MeanBaseline(tuple(_numbers(rest)) if rest else ())
    if kind == "blur":
        return GaussianBlur(_number(rest))
    if text == "segment-mean":
        return SegmentMean()
    if is_digest(text):
        return text
    if text.endswith((".npy", ".npz")):
        return load_array(text)
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"{text!r} is none of {_NOTES['BASELINE']}") from None


def _sampling(text: str) -> Sampling | TrainingRows:
    kind, _, file = text.partition("=")
    if kind == "quartile" and file:
        return TrainingRows(QuartileTable, file)
    if kind == "gaussian" and file:
        return TrainingRows(GaussianTable, file)
    if text != "mask":
        raise ValueError(f"{text!r} is none of {_NOTES['SAMPLING']}")
    return "mask"


def _features(text: str) -> Features:
    kind, _, rest = text.partition(":")
    if text == "elements":
        return Elements()
    if text == "groups":
        return Groups()
    if kind == "grid" and len(cells := _numbers(rest)) == 2:
        return Grid(*cells)
    if kind == "superpixels":
        return Superpixels(_whole(rest))
    if kind == "segments":
        parts = [per_input(load_array)(part) for part in rest.split(",")]
        return Segments(joined(parts))
    raise ValueError(f"{text!r} is none of {_NOTES['CUT']}")


_NOTES = {
    "BASELINE": "a number, mean, mean:AXES, blur:SIGMA, segment-mean, sha256:… or FILE.npy",
    "CUT": "elements, grid:ROWS,COLS, superpixels:N, segments:[INPUT=]FILE.npy or groups (those of the model's spec)",
    "SAMPLING": (
        "mask, quartile=FILE or gaussian=FILE with the training rows: a matrix in .npy or .npz:ARRAY, or columns by "
        "input or by feature name in .npz or .parquet"
    ),
}

_PARSERS: Mapping[Any, tuple[Callable[[str], Any], str]] = {
    int: (_whole, "N"),
    float: (_number, "NUMBER"),
    Sizes: (_numbers, "N,N"),
    Scale: (_scale, "NUMBER|FILE"),
    Interval: (_interval, "LOWER,UPPER"),
    Array: (load_array, "FILE"),
    Baseline: (_baseline, "BASELINE"),
    Features: (_features, "CUT"),
    Sampling: (_sampling, "SAMPLING"),
    Sequence[str]: (lambda text: tuple(text.split(",")), "NAME,NAME"),
}
