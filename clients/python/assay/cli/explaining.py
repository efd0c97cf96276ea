"""`assay predict` and `assay explain`."""

from __future__ import annotations

import argparse

from assay.cli import asking, report
from assay.cli.connecting import connected, timeout
from assay.cli.data_set import explain_data_set, need_input
from assay.cli.files import load_inputs
from assay.cli.flags import method_of, need_window
from assay.cli.output import need_files, save, write
from assay.cli.progress import followed
from assay.cli.shown import rows_of
from assay.errors import Unimplemented


def predict(args: argparse.Namespace) -> None:
    """`assay predict`."""
    need_files(args)
    with connected(args) as client:
        model = client.get_model(args.model, timeout=timeout(args))
        inputs = load_inputs(args.input, model, asking.layouts(args, model.spec.layouts))
        outputs = client.predict(
            model, inputs, args.output, timeout=timeout(args), request_id=args.request_id, priority=args.priority
        )
    report.outputs(model, outputs, args.json)
    if args.out:
        save(args.out, outputs)


def explain(args: argparse.Namespace) -> int:
    """`assay explain METHOD`; the exit status."""
    need_input(args)
    need_window(args)
    need_files(args)
    if args.data or args.evidence:
        return explain_data_set(args)
    target, settings = asking.targets(args), asking.settings(args, "fail")
    call = {"timeout": timeout(args), "request_id": args.request_id, "keys": args.instance_key}
    with connected(args) as client:
        model = client.get_model(args.model, timeout=timeout(args))
        method, layouts = method_of(args, model), asking.layouts(args, model.spec.layouts)
        inputs = load_inputs(args.input, model, layouts)
        shown = asking.shown(args, model, rows_of(inputs))
        asked = {**settings, **call, "target": target, "validate_only": args.validate_only}
        try:
            explanation = followed(client.explain_stream(model, inputs, method, **asked))
        except Unimplemented:  # of the stream, or of what was asked; a plain call tells which
            explanation = client.explain(model, inputs, method, **asked)
    report.explanation(explanation, args.json, shown)
    if not args.validate_only:
        write(args, explanation, shown, layouts)
    return 0
