"""`assay compare`: two models asked the same."""

from __future__ import annotations

import argparse
import dataclasses
import math
from typing import Any

from assay.cli import asking, report
from assay.cli.connecting import connected, timeout
from assay.cli.data_set import data_of
from assay.cli.flags import method_of, need_window
from assay.compare import Comparison, Mean, compare
from assay.errors import invalid


def compare_models(args: argparse.Namespace) -> None:
    """`assay compare METHOD MODEL_A MODEL_B`."""
    need_window(args)
    target = asking.targets(args)
    if isinstance(target, list):
        raise invalid("target", "one target is compared at a time")
    with connected(args) as client:
        a, b = (client.get_model(ref, timeout=timeout(args)) for ref in (args.model, args.other))
        data = data_of(args, a)
        settings = asking.settings(args, "skip")
        method = method_of(args, a)
        found = compare(client, a, b, data, method, target, k=args.reasons, timeout=args.timeout, **settings)
    if args.json:
        report.print_json(_as_json(found))
    else:
        _print(found, args.top)


def _print(found: Comparison, top: int) -> None:
    n = len(found.names)
    left = [f"{found.failed:,} failed"] * bool(found.failed)
    left += [f"{found.other_target:,} had another target"] * bool(found.other_target)
    print(f"{found.a.ref} and {found.b.ref}: {n:,} of {found.instances:,} instances compared" + _listed(left))
    score = found.score_difference
    print(f"  score             {_mean(score)} on average,", end=" ")
    print(f"at most {found.largest_score_difference:.4g}")
    changed = int(found.changed.sum())
    print(f"  top {found.k} reasons     others in {changed:,} of {n:,} instances")
    print(f"  rank correlation  {found.rank_correlation:.4f} on average")
    shown = sorted(found.features, key=lambda f: -abs(f.difference.value))[:top]
    title, a, b = "mean value of", found.a.ref, found.b.ref
    width = max(len(title), *(len(f.name) for f in shown)) if shown else len(title)
    one, two = max(11, len(a)), max(11, len(b))
    print(f"  {title:{width}}  {a:>{one}}  {b:>{two}}  difference")
    for f in shown:
        print(f"  {f.name:{width}}  {f.a:+{one}.4g}  {f.b:+{two}.4g}  {_mean(f.difference)}")
    if more := len(found.features) - len(shown):
        print(f"  … and {more:,} more feature{'s that differ' if more > 1 else ' that differs'} less")


def _mean(mean: Mean) -> str:
    """With its error, where more than one instance says what that is."""
    return f"{mean.value:+.4g}" + ("" if math.isnan(mean.error) else f" ± {mean.error:.2g}")


def _listed(parts: list[str]) -> str:
    return f" ({', '.join(parts)})" if parts else ""


def _as_json(found: Comparison) -> dict[str, Any]:
    return {
        "a": {"ref": found.a.ref, "digest": found.a.digest},
        "b": {"ref": found.b.ref, "digest": found.b.digest},
        "instances": found.instances,
        "compared": len(found.names),
        "failed": found.failed,
        "other_target": found.other_target,
        "score_difference": dataclasses.asdict(found.score_difference),
        "largest_score_difference": found.largest_score_difference,
        "reasons": found.k,
        "changed_reasons": int(found.changed.sum()),
        "rank_correlation": found.rank_correlation,
        "features": [dataclasses.asdict(feature) for feature in found.features],
        "by_instance": [
            {"name": name, "score_a": a, "score_b": b, "changed_reasons": changed, "rank_correlation": correlation}
            for name, a, b, changed, correlation in zip(
                found.names,
                found.scores_a.tolist(),
                found.scores_b.tolist(),
                found.changed.tolist(),
                found.rank_correlations.tolist(),
                strict=True,
            )
        ],
    }
