"""What each command does."""

from __future__ import annotations

import argparse
import dataclasses
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from assay.channel import TLS
from assay.cli import report
from assay.cli.files import load_inputs, plane
from assay.cli.flags import joined, method_of
from assay.cli.progress import followed
from assay.client import Client
from assay.errors import Unimplemented, invalid
from assay.explanation import Explanation
from assay.models import ModelSpec
from assay.requests import Budget
from assay.tensors import Array


def upload(args: argparse.Namespace) -> None:
    """`assay upload`."""
    spec = ModelSpec.from_json(args.spec.read_bytes()) if args.spec else None
    with _client(args) as client:
        timeout = 300.0 if args.timeout is None else args.timeout
        model = client.upload_model(args.path, args.name, args.version, spec, timeout=timeout)
    report.model(model, args.json)


def models(args: argparse.Namespace) -> None:
    """`assay models`."""
    with _client(args) as client:
        report.models(client.models(args.name, timeout=_timeout(args)), args.json)


def info(args: argparse.Namespace) -> None:
    """`assay info`."""
    with _client(args) as client:
        report.info(client.info(timeout=_timeout(args)), args.json)


def predict(args: argparse.Namespace) -> None:
    """`assay predict`."""
    with _client(args) as client:
        model = client.get_model(args.model, timeout=_timeout(args))
        inputs = load_inputs(args.input, model, {**model.spec.layouts, **_layouts(args)})
        outputs = client.predict(
            model, inputs, args.output, timeout=_timeout(args), request_id=args.request_id, priority=args.priority
        )
    if args.out:
        _save(args.out, outputs)
    report.outputs(model, outputs, args.json)


def explain(args: argparse.Namespace) -> None:
    """`assay explain METHOD`."""
    method = method_of(args)
    targets = [dataclasses.replace(target, scale=args.target_scale) for target in args.target or ()]
    if not targets and args.target_scale != "raw":
        raise invalid("target-scale", "needs a --target")
    if args.png:
        _need_pillow()
    with _client(args) as client:
        model = client.get_model(args.model, timeout=_timeout(args))
        layouts = {**model.spec.layouts, **_layouts(args)}
        inputs = load_inputs(args.input, model, layouts)
        budget = None
        if args.budget_rows is not None or args.budget_time is not None:
            budget = Budget(args.budget_rows, args.budget_time, args.on_budget)
        asked: dict[str, Any] = {
            "target": targets if len(targets) > 1 else targets[0] if targets else None,
            "timeout": _timeout(args),
            "request_id": args.request_id,
            "inputs_to_explain": args.explain_input,
            "keys": args.instance_key,
            "seed": args.seed,
            "layout": joined(args.layout) if args.layout else None,
            "priority": args.priority,
            "budget": budget,
            "on_instance_error": args.on_instance_error,
            "validate_only": args.validate_only,
            "reproducible": args.reproducible,
            "return_rows": args.return_rows,
            "method_revision": args.method_revision,
        }
        try:
            explanation = followed(client.explain_stream(model, inputs, method, **asked))
        except Unimplemented:  # of the stream, or of what was asked; a plain call tells which
            explanation = client.explain(model, inputs, method, **asked)
    if args.out and not args.validate_only:
        _save(args.out, _results(explanation))
    if args.png and not args.validate_only:
        _save_overlays(args.png, explanation, inputs, layouts, target_axis=len(targets) > 1)
    report.explanation(explanation, args.json, args.top)


def _client(args: argparse.Namespace) -> Client:
    tls: TLS | bool = args.tls
    if args.ca or args.cert or args.key:
        tls = TLS(args.ca, args.cert, args.key)
    return Client(args.server, tls, args.token or os.environ.get("ASSAY_TOKEN"))


def _timeout(args: argparse.Namespace) -> float:
    return 30.0 if args.timeout is None else float(args.timeout)


def _layouts(args: argparse.Namespace) -> dict[str, str]:
    return dict(args.layout or ())


def _need_pillow() -> None:
    try:
        import PIL  # noqa: F401
    except ImportError as error:
        raise invalid("png", "pictures need pillow: pip install 'onnx-assay[cli]'") from error


def _results(explanation: Explanation) -> dict[str, Array]:
    """What of an explanation is worth a file: its maps, else its features' values, else its rows' scores."""
    if explanation.attributions:
        return explanation.attributions
    if explanation.feature_values is not None:
        return {"feature_values": explanation.feature_values}
    scores = [rows.scores for rows in explanation.rows if rows is not None and rows.scores is not None]
    return {"row_scores": np.stack(scores)} if scores else {}


def _save(path: Path, arrays: Mapping[str, Array]) -> None:
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


def _save_overlays(
    path: Path, explanation: Explanation, inputs: Mapping[str, Array], layouts: Mapping[str, str], target_axis: bool
) -> None:
    """One picture for each input that is an image, instance and target; numbered where there are several."""
    from assay.overlay import save_overlay

    pictures: list[tuple[Array, Array | None]] = []
    for name, maps in explanation.attributions.items():
        layout = layouts.get(name, layouts.get("", "")).upper()
        for i, instance in enumerate(maps):
            image = plane(np.asarray(inputs[name][i], np.float64), layout) if name in inputs else None
            for one in instance if target_axis else instance[None]:
                attribution = plane(one, layout)
                if attribution is not None:
                    pictures.append((attribution, image))
    if not pictures:
        raise invalid("png", "no explained input is an image; --layout NCHW or NHWC says which is")
    for number, (attribution, image) in enumerate(pictures):
        place = path if len(pictures) == 1 else path.with_name(f"{path.stem}-{number}{path.suffix}")
        save_overlay(place, attribution, image)
