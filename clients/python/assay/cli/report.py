"""What commands print: short tables for people, JSON for machines."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from assay.explanation import Explanation, Instance, ResultWarning
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


def explanation(ex: Explanation, as_json: bool, top: int) -> None:
    """An explanation: scores, statistics of the maps, and the features with the largest values."""
    if as_json:
        return print_json(_explanation(ex))
    if ex.estimate is not None:
        seconds = ex.estimate.device_seconds
        print(f"{ex.model.ref}: valid, {ex.estimate.rows:,} rows" + (f", about {seconds:.3g} s" if seconds else ""))
    else:
        partial = ", partial: the budget ended" if ex.completion == "partial" else ""
        usage, plural = ex.usage, "" if ex.usage.batches == 1 else "es"
        ran = f"{usage.rows_run:,} rows in {usage.batches:,} batch{plural}, {usage.compute_seconds:.2f} s of compute"
        print(f"{ex.model.ref}: {ran}{partial} (request id {ex.request_id})")
    for instance in ex.instances[:_MOST_INSTANCES]:
        print_instance(instance, top)
    _more(len(ex.instances), "")
    for warning in ex.warnings:
        print(f"warning: {_warning(warning)}")
    return None


def print_instance(instance: Instance, top: int) -> None:
    """One instance: its score, statistics of its maps, and the features with the largest values."""
    head = f"instance {instance.position}" + (f" ({instance.key})" if instance.key else "")
    if instance.status is not None:
        print(f"{head}: failed: {instance.status}")
        return
    if not instance.targets:
        print(head)
        _print_maps(instance.attributions or next(iter(instance.jacobian.values()), {}))
    several = len(instance.targets) > 1
    for t, target in enumerate(instance.targets):

        def of(values: Array | None, t: int = t) -> Array | None:
            return values[t] if several and values is not None else values

        score, baselines = of(instance.scores), of(instance.baseline_scores)
        line = f"{head}: {target}" + (f" = {float(np.ravel(score)[0]):.5g}" if score is not None else "")
        if baselines is not None and baselines.size:
            line += f", {float(np.mean(baselines)):.5g} at the baseline"
        print(line)
        _print_maps({name: values[t] if several else values for name, values in instance.attributions.items()})
        values, errors = of(instance.feature_values), of(instance.feature_errors)
        if values is not None:
            for f in np.argsort(-np.abs(np.nan_to_num(values)), kind="stable")[:top]:
                error = f" ± {errors[f]:.2g}" if errors is not None else ""
                print(f"  {values[f]:+10.4g}{error}  {instance.feature_name(int(f))}")
    if instance.errors_unknown:
        print("  errors not estimated: how certain these numbers and their order are isn't known")


def _print_maps(maps: Mapping[str, Array]) -> None:
    for name, array in maps.items():
        s = _statistics(array)
        ends = "".join(f"   {end} {s[end]:+.4g} at {s[f'{end}_at']}" for end in ("max", "min") if s[end] is not None)
        print(f"  {name} {list(array.shape)}   sum {s['sum']:+.4g}{ends}")


def _statistics(array: Array) -> dict[str, Any]:
    """Shape, sum, and largest and smallest value with their places; what isn't finite is left out."""
    finite = np.isfinite(array)
    found: dict[str, Any] = {"shape": list(array.shape), "sum": float(array[finite].sum(dtype=np.float64))}
    for end, worst, pick in (("max", -np.inf, np.argmax), ("min", np.inf, np.argmin)):
        place = np.unravel_index(int(pick(np.where(finite, array, worst))), array.shape) if finite.any() else None
        found[end] = float(array[place]) if place is not None else None
        found[f"{end}_at"] = [int(i) for i in place] if place is not None else None
    return found


def _best(values: Array, shape: tuple[int, ...], labels: Sequence[str]) -> str:
    """The five largest numbers with their places, or the first five of what has no order."""
    if values.dtype.kind not in "fiu" or values.size == 1:
        return ", ".join(str(value) for value in values[:5])
    order = np.argsort(-values.astype(np.float64), kind="stable")[:5]

    def place(i: int) -> str:
        index = [int(k) for k in np.unravel_index(i, shape)]
        return f"{index[0] if len(index) == 1 else index}" + (f" {labels[i]!r}" if i < len(labels) else "")

    return ", ".join(f"{place(int(i))}: {values[i]:.5g}" for i in order)


def _explanation(ex: Explanation) -> dict[str, Any]:
    return {
        "request_id": ex.request_id,
        "model": _model(ex.model),
        "completion": ex.completion,
        "usage": dataclasses.asdict(ex.usage),
        "warnings": [dataclasses.asdict(warning) for warning in ex.warnings],
        "estimate": dataclasses.asdict(ex.estimate) if ex.estimate else None,
        "instances": [_instance(instance) for instance in ex.instances],
    }


def _instance(instance: Instance) -> dict[str, Any]:
    status = instance.status
    return {
        "position": instance.position,
        "key": instance.key,
        "error": {"code": status.code, "reason": status.reason, "message": str(status)} if status else None,
        "targets": [dataclasses.asdict(target) for target in instance.targets],
        "scores": _listed(instance.scores),
        "baseline_scores": _listed(instance.baseline_scores),
        "feature_values": _listed(instance.feature_values),
        "feature_errors": _listed(instance.feature_errors),
        "errors_unknown": instance.errors_unknown,
        "features": [dataclasses.asdict(feature) for feature in instance.features],
        "windows": [dataclasses.asdict(grid) for grid in instance.windows],
        "maps": {name: _statistics(array) for name, array in instance.attributions.items()},
        "row_scores": _listed(instance.rows.scores) if instance.rows else None,
        "completion": instance.completion,
        "record_digest": instance.record.digest if instance.record else None,
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


def _listed(array: Array | None) -> Any:
    return None if array is None else array.tolist()


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
