"""What the flags ask for: the method's settings and the score that is explained."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Mapping

from assay.cli.elements import need_elements
from assay.cli.flags import joined
from assay.cli.shown import Shown
from assay.errors import invalid
from assay.methods import Jacobian
from assay.models import Model
from assay.requests import Budget, Settings
from assay.targets import Target
from assay.tensors import Array


def targets(args: argparse.Namespace) -> list[Target] | Target | None:
    """`--target`, each at the scale of `--target-scale`; a list where it was given more than once.

    None for a Jacobian, of which it says what is shown.
    """
    if args.method is Jacobian:
        return None
    listed = [dataclasses.replace(target, scale=args.target_scale) for target in args.target or ()]
    if not listed and args.target_scale != "raw":
        raise invalid("target-scale", "needs a --target")
    return listed if len(listed) > 1 else listed[0] if listed else None


def settings(args: argparse.Namespace, on_instance_error: str) -> Settings:
    """The rest. on_instance_error: what holds without its flag."""
    budget = None
    if args.budget_rows is not None or args.budget_time is not None:
        budget = Budget(args.budget_rows, args.budget_time, args.on_budget)
    return {
        "inputs_to_explain": args.explain_input,
        "seed": args.seed,
        "layout": joined(args.layout) if args.layout else None,
        "priority": args.priority,
        "budget": budget,
        "on_instance_error": args.on_instance_error or on_instance_error,
        "reproducible": args.reproducible,
        "return_rows": args.return_rows,
        "method_revision": args.method_revision,
    }


def shown(args: argparse.Namespace, model: Model, rows: Mapping[int, Mapping[str, Array]]) -> Shown:
    """How the answer is shown. rows: the inputs {input: [*input]} of instances by position.

    InvalidArgument where `--target` of a Jacobian names none of its elements.
    """
    if args.method is not Jacobian:
        return Shown(model, args.top, (), rows)
    need_elements(args, model)
    return Shown(model, args.top, tuple(args.target or ()), rows)


def layouts(args: argparse.Namespace, known: Mapping[str, str]) -> dict[str, str]:
    """By input, those of `--layout` over those of the model's spec."""
    return {**known, **dict(args.layout or ())}
