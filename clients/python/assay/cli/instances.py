"""One instance of an explanation: lines for people, JSON for machines."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from assay.cli.elements import Element, chosen, count, maps_of
from assay.cli.shown import Shown
from assay.explanation import Instance
from assay.reasons import Reason, with_value
from assay.tensors import Array


def print_instance(instance: Instance, shown: Shown) -> None:
    """Its scores, each with statistics of its maps and the features with the largest values."""
    head = f"instance {instance.position}" + (f" ({instance.key})" if instance.key else "")
    if instance.status is not None:
        print(f"{head}: failed: {instance.status}")
        return
    if instance.jacobian:
        _print_jacobian(head, instance, shown)
    elif not instance.targets:
        print(head)
        _print_maps(instance.attributions)
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
        _print_features(shown.reasons(instance, t))
    if instance.errors_unknown:
        print("  errors not estimated: how certain these numbers and their order are isn't known")


def _print_jacobian(head: str, instance: Instance, shown: Shown) -> None:
    """The derivatives of some elements of the outputs: by which features they are largest."""
    elements = chosen(instance, shown.model, shown.wanted)
    for element in elements:
        score = f" = {element.score:.5g}" if element.score is not None else ""
        print(f"{head}: derivatives of {element.target}{score}")
        _print_maps(maps_of(instance.jacobian[element.target.output], element.target.index))
        reasons = shown.slopes(instance, element)
        _print_features(reasons)
        if not reasons and shown.top > 0:
            print("  none but 0")
    others = count(instance, shown.model) - len(elements)
    if others > 0 and not shown.wanted:
        print(f"… and {others:,} more element{'s' * (others != 1)} of the outputs, which --target shows")


def _print_features(reasons: Sequence[Reason]) -> None:
    for reason in reasons:
        error = f" ± {reason.error:.2g}" if reason.error is not None else ""
        # Where no errors are known none are separated, which a line of its own says once.
        tied = "  (not separated from the next)" if reason.tied and reason.error_known else ""
        print(f"  {reason.value:+10.4g}{error}  {with_value(reason)}{tied}")


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


def instance_json(instance: Instance, shown: Shown) -> dict[str, Any]:
    """All numbers but those of maps, of which there are statistics; of a Jacobian those that are printed."""
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
        "derivatives": _derivatives(instance, shown),
        "row_scores": _listed(instance.rows.scores) if instance.rows else None,
        "completion": instance.completion,
        "record_digest": instance.record.digest if instance.record else None,
    }


def _derivatives(instance: Instance, shown: Shown) -> list[dict[str, Any]]:
    elements = chosen(instance, shown.model, shown.wanted) if instance.jacobian else []

    def of(element: Element) -> dict[str, Any]:
        reasons = [dataclasses.asdict(reason) for reason in shown.slopes(instance, element)]
        target = element.target
        return {
            "output": target.output,
            "index": target.index,
            "label": target.label,
            "score": element.score,
            "features": reasons,
        }

    return [of(element) for element in elements]


def _listed(array: Array | None) -> Any:
    return None if array is None else array.tolist()
