"""`assay predict` and `assay explain`."""

from __future__ import annotations

import argparse

from assay.cli import asking, report
from assay.cli.connecting import connected, timeout
from assay.cli.data_set import explain_data_set, need_input
from assay.cli.files import load_inputs
from assay.cli.flags import method_of
from assay.cli.output import need_pillow, results, save, save_pictures
from assay.cli.progress import followed
from assay.errors import Unimplemented


def predict(args: argparse.Namespace) -> None:
    """`assay predict`."""
    with connected(args) as client:
        model = client.get_model(args.model, timeout=timeout(args))
        inputs = load_inputs(args.input, model, asking.layouts(args, model.spec.layouts))
        outputs = client.predict(
            model, inputs, args.output, timeout=timeout(args), request_id=args.request_id, priority=args.priority
        )
    if args.out:
        save(args.out, outputs)
    report.outputs(model, outputs, args.json)


def explain(args: argparse.Namespace) -> int:
    """`assay explain METHOD`; the exit status."""
    need_input(args)
    if args.png:
        need_pillow()
    if args.data or args.evidence:
        return explain_data_set(args)
    target, settings = asking.targets(args), asking.settings(args, "fail")
    call = {"timeout": timeout(args), "request_id": args.request_id, "keys": args.instance_key}
    with connected(args) as client:
        model = client.get_model(args.model, timeout=timeout(args))
        method, layouts = method_of(args, model), asking.layouts(args, model.spec.layouts)
        inputs = load_inputs(args.input, model, layouts)
        asked = {**settings, **call, "target": target, "validate_only": args.validate_only}
        try:
            explanation = followed(client.explain_stream(model, inputs, method, **asked))
        except Unimplemented:  # of the stream, or of what was asked; a plain call tells which
            explanation = client.explain(model, inputs, method, **asked)
    if args.out and not args.validate_only:
        save(args.out, results(explanation))
    if args.png and not args.validate_only:
        save_pictures(args.png, explanation, inputs, layouts, args.top)
    report.explanation(explanation, args.json, args.top)
    return 0
