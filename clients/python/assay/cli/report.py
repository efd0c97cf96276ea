"""What commands print: short tables for people, JSON for machines."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from assay.cli.instances import instance_json, print_instance
from assay.cli.shown import Shown
from assay.explanation import Explanation, ResultWarning
from assay.models import Model, TensorInfo
from assay.responses import ServerInfo
from assay.tensors import Array

_MOST_INSTANCES = 10


def model(model: Model, as_json: bool) -> None:
    """One model, as an upload answers it."""
    if as_json:
        return print_json(_model(model))
    how = model.batching.mode.replace("_", " ") or "?"
    print(f"{model.ref}  {model.digest}  {_size(model.size_bytes)}")
    for kind, infos in (("input", model.inputs), ("output", model.outputs)):
        for info in infos:
            print(f"  {kind:6}  {_tensor(info)}")
    print(f"  rows    {how}" + (f": {model.batching.reason}" if model.batching.reason else ""))
    return None


def models(found: Sequence[Model], as_json: bool) -> None:
    """A list of versions."""
    if as_json:
        return print_json([_model(m) for m in found])
    if not found:
        print("no models")
    width = max((len(m.ref) for m in found), default=0)
    for m in found:
        created = f"{m.created:%Y-%m-%d %H:%M}" if m.created else ""
        print(f"{m.ref:{width}}  {m.digest[:19]}  {_size(m.size_bytes):>9}  {created}".rstrip())
    return None


def info(info: ServerInfo, as_json: bool) -> None:
    """What a server is."""
    if as_json:
        return print_json(dataclasses.asdict(info))
    print(f"assayd {info.version}")
    print(f"  methods    {', '.join(f'{name} (revision {r})' for name, r in info.methods.items()) or 'none'}")
    print(f"  providers  {', '.join(info.providers) or 'none'}")
    print(f"  devices    {', '.join(d.name if d.serving else f'{d.name} (lost)' for d in info.devices)}")
    for name, value in dataclasses.asdict(info.limits).items():
        print(f"  {name:22} {value:,}")
    print(f"  versions   {', '.join(f'{name} {v}' for name, v in sorted(info.versions.items()))}")
    return None


def outputs(model: Model, arrays: Mapping[str, Array], as_json: bool) -> None:
    """What a model answered."""
    if as_json:
        return print_json({name: {"dtype": a.dtype.name, "values": a.tolist()} for name, a in arrays.items()})
    labels = {info.name: info.class_labels for info in model.outputs}
    for name, array in arrays.items():
        print(f"{name}  {array.dtype.name} {list(array.shape)}")
        for i, instance in enumerate(array[:_MOST_INSTANCES]):
            print(f"  instance {i}: {_best(np.ravel(instance), np.shape(instance), labels.get(name, ()))}")
        _more(len(array), "  ")
    return None


def explanation(ex: Explanation, as_json: bool, shown: Shown) -> None:
    """An explanation: scores, statistics of the maps, and the features with the largest values."""
    if as_json:
        return print_json(_explanation(ex, shown))
    if ex.estimate is not None:
        seconds = ex.estimate.device_seconds
        print(f"{ex.model.ref}: valid, {ex.estimate.rows:,} rows" + (f", about {seconds:.3g} s" if seconds else ""))
    else:
        partial = ", partial: the budget ended" if ex.completion == "partial" else ""
        usage, plural = ex.usage, "" if ex.usage.batches == 1 else "es"
        ran = f"{usage.rows_run:,} rows in {usage.batches:,} batch{plural}, {usage.compute_seconds:.2f} s of compute"
        print(f"{ex.model.ref}: {ran}{partial} (request id {ex.request_id})")
    for instance in ex.instances[:_MOST_INSTANCES]:
        print_instance(instance, shown)
    _more(len(ex.instances), "")
    for warning in ex.warnings:
        print(f"warning: {_warning(warning)}")
    return None


def _best(values: Array, shape: tuple[int, ...], labels: Sequence[str]) -> str:
    """The five largest numbers with their places, or the first five of what has no order."""
    if values.dtype.kind not in "fiu" or values.size == 1:
        return ", ".join(str(value) for value in values[:5])
    order = np.argsort(-values.astype(np.float64), kind="stable")[:5]

    def place(i: int) -> str:
        index = [int(k) for k in np.unravel_index(i, shape)]
        return f"{index[0] if len(index) == 1 else index}" + (f" {labels[i]!r}" if i < len(labels) else "")

    return ", ".join(f"{place(int(i))}: {values[i]:.5g}" for i in order)


def _explanation(ex: Explanation, shown: Shown) -> dict[str, Any]:
    return {
        "request_id": ex.request_id,
        "model": _model(ex.model),
        "completion": ex.completion,
        "usage": dataclasses.asdict(ex.usage),
        "warnings": [dataclasses.asdict(warning) for warning in ex.warnings],
        "estimate": dataclasses.asdict(ex.estimate) if ex.estimate else None,
        "instances": [instance_json(instance, shown) for instance in ex.instances],
    }


def _model(model: Model) -> dict[str, Any]:
    return {
        "name": model.name,
        "version": model.version,
        "digest": model.digest,
        "spec_digest": model.spec_digest,
        "size_bytes": model.size_bytes,
        "created": model.created.isoformat() if model.created else None,
        "inputs": [dataclasses.asdict(info) for info in model.inputs],
        "outputs": [dataclasses.asdict(info) for info in model.outputs],
        "batching": dataclasses.asdict(model.batching),
    }


def _tensor(info: TensorInfo) -> str:
    return f"{info}" + (f", {len(info.class_labels)} class labels" if info.class_labels else "")


def _warning(warning: ResultWarning) -> str:
    return warning.message + (f" (instance {warning.instance})" if warning.instance is not None else "")


def _size(count: int) -> str:
    return f"{count / (1 << 20):.1f} MiB" if count >= 1 << 20 else f"{count / 1024:.1f} KiB"


def _more(count: int, indent: str) -> None:
    if count > _MOST_INSTANCES:
        print(f"{indent}… and {count - _MOST_INSTANCES} more instances")


def print_json(value: Any) -> None:
    """JSON, with null for what isn't finite."""
    print(json.dumps(_finite(value), indent=2))


def _finite(value: Any) -> Any:
    """JSON has no NaN and no infinity: null stands for them."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _finite(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(one) for one in value]
    return value
