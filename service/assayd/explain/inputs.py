"""Checks inputs against what the model takes, and decides which are explained."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from assayd.errors import InvalidRequest, InvalidTensor, ModelUnfit
from assayd.types.arrays import Array
from assayd.types.model import Signature, TensorSignature
from assayd.types.statistics import Table, inputs_of


def check_inputs(inputs: Mapping[str, Array], signature: Signature) -> None:
    """Names, dtypes, ranks, extents and a common number of instances. Raises InvalidTensor naming the input."""
    wanted = [s.name for s in signature.inputs]
    for name in inputs:
        if name not in wanted:
            raise InvalidTensor(
                f"the model has no input {name[:80]!r}; its inputs are {wanted}", field=f"inputs[{name[:80]}]"
            )
    for s in signature.inputs:
        if s.name not in inputs:
            raise InvalidTensor(f"input {s.name!r} is missing; the model needs {wanted}", field=f"inputs[{s.name}]")
        _check(inputs[s.name], s)
    first = next(iter(signature.inputs)).name
    for name, x in inputs.items():
        if len(x) != len(inputs[first]):
            raise InvalidTensor(
                f"{name!r} holds {len(x)} instances and {first!r} {len(inputs[first])}: all inputs need the same",
                field=f"inputs[{name}]",
            )


def _check(x: Array, s: TensorSignature) -> None:
    field = f"inputs[{s.name}]"
    if x.dtype != s.dtype:
        raise InvalidTensor(
            f"{s.name!r} is {_dtype_name(s.dtype)} in the model, not {_dtype_name(x.dtype)}, and isn't converted here",
            field=field,
        )
    shape = s.shape or ()
    shown = ["B", *("?" if n is None else str(n) for n in shape)]
    want = f"[{', '.join(shown)}], the number of instances first"
    if x.ndim != 1 + len(shape):
        raise InvalidTensor(f"{s.name!r} has shape {list(x.shape)}, where the model takes {want}", field=field)
    for axis, extent in enumerate(shape):
        if extent is not None and x.shape[axis + 1] != extent:
            raise InvalidTensor(f"{s.name!r} has shape {list(x.shape)}, where the model takes {want}", field=field)
    if x.size == 0:
        raise InvalidTensor(f"{s.name!r} has shape {list(x.shape)}: no axis may be empty", field=field)


def _dtype_name(dtype: object) -> str:
    return "string" if dtype == object else str(dtype)


def explained_inputs(chosen: tuple[str, ...], signature: Signature, table: Table | None = None) -> tuple[str, ...]:
    """Inputs that are perturbed, in the model's order: those asked for, else those that the table has columns of.

    Where there is no table, or one that names none of several inputs: all floating ones, or a lone integer one.

    Raises InvalidRequest naming `inputs_to_explain`, ModelUnfit where there is nothing to choose.
    """
    names = [s.name for s in signature.inputs]
    for n, name in enumerate(chosen):
        if name not in names:
            raise InvalidRequest(
                f"the model has no input {name[:80]!r}; its inputs are {names}", field=f"inputs_to_explain[{n}]"
            )
        if name in chosen[:n]:
            raise InvalidRequest(f"input {name!r} is named twice", field=f"inputs_to_explain[{n}]")
    if chosen:
        return tuple(name for name in names if name in chosen)
    if table is not None:
        # A name that the model lacks is refused with its place in the table by whoever draws from it.
        tabled = tuple(name for name in names if name in inputs_of(table))
        if tabled or len(names) == 1:
            return tabled or tuple(names)
    floating = tuple(s.name for s in signature.inputs if s.dtype is not None and np.issubdtype(s.dtype, np.floating))
    if floating:
        return floating
    integers = tuple(s.name for s in signature.inputs if s.dtype is not None and np.issubdtype(s.dtype, np.integer))
    if len(integers) == 1:
        return integers
    raise ModelUnfit(
        f"the model has no floating-point input and not one integer input alone; name one of {names}",
        field="inputs_to_explain",
    )
