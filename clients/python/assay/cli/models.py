"""Commands about what the server keeps: upload, models, info, delete."""

from __future__ import annotations

import argparse
import json

from assay.cli import report
from assay.cli.connecting import connected, timeout
from assay.models import ModelSpec


def upload(args: argparse.Namespace) -> None:
    """`assay upload`."""
    spec = ModelSpec.from_json(args.spec.read_bytes()) if args.spec else None
    with connected(args) as client:
        seconds = 300.0 if args.timeout is None else args.timeout
        model = client.upload_model(args.path, args.name, args.version, spec, timeout=seconds)
    report.model(model, args.json)


def models(args: argparse.Namespace) -> None:
    """`assay models`."""
    with connected(args) as client:
        report.models(client.models(args.name, timeout=timeout(args)), args.json)


def delete(args: argparse.Namespace) -> None:
    """`assay delete`."""
    with connected(args) as client:
        count = client.delete_model(args.model, timeout=timeout(args))
    if args.json:
        print(json.dumps({"deleted_versions": count}))
    else:
        print(f"{args.model}: {count} version{'s' * (count != 1)} deleted")


def info(args: argparse.Namespace) -> None:
    """`assay info`."""
    with connected(args) as client:
        report.info(client.info(timeout=timeout(args)), args.json)
