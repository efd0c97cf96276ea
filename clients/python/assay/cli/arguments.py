"""The parser of the command line."""

from __future__ import annotations

import argparse
import inspect
import os
from collections.abc import Callable
from pathlib import Path

import assay
from assay.cli import commands
from assay.cli.flags import add_method_flags, per_input, target
from assay.methods import METHODS


def parser() -> argparse.ArgumentParser:
    """`assay COMMAND …`; every command's function stands in `run`."""
    root = argparse.ArgumentParser(
        prog="assay", description="Explain what ONNX models answer, through an Assay server.", allow_abbrev=False
    )
    root.add_argument("--version", action="version", version=f"assay {assay.__version__}")
    listed = root.add_subparsers(title="commands", required=True, metavar="COMMAND")
    server = _server_flags()

    upload = _command(listed, "upload", "store a model under a name", commands.upload, server)
    upload.add_argument("path", metavar="MODEL.onnx", type=Path)
    upload.add_argument("--name", required=True, help="name to store it under")
    upload.add_argument("--version", help="its version, immutable; by default the next integer")
    upload.add_argument("--spec", type=Path, metavar="FILE.json", help="protobuf JSON of its ModelSpec")

    models = _command(listed, "models", "list the models", commands.models, server)
    models.add_argument("name", nargs="?", help="only this one's versions")

    _command(listed, "info", "say what the server is", commands.info, server)

    predict = _command(listed, "predict", "run a model on inputs as they are", commands.predict, server)
    _model_flags(predict)
    predict.add_argument("--output", action="append", metavar="NAME", help="output wanted; by default all")
    predict.add_argument("--out", type=Path, metavar="FILE.npz", help="write the outputs")

    explain = listed.add_parser("explain", help="explain what a model answered", allow_abbrev=False)
    methods = explain.add_subparsers(title="methods", required=True, metavar="METHOD")
    for name, kind in METHODS.items():
        summary = inspect.cleandoc(kind.__doc__ or "").partition("\n")[0]
        method = _command(methods, name, summary, commands.explain, server)
        method.set_defaults(method=kind)
        _model_flags(method)
        method.epilog = add_method_flags(method.add_argument_group(name), kind)
        _explain_flags(method)
    return root


def _command(
    listed: argparse._SubParsersAction[argparse.ArgumentParser],
    name: str,
    summary: str,
    run: Callable[[argparse.Namespace], None],
    server: argparse.ArgumentParser,
) -> argparse.ArgumentParser:
    command = listed.add_parser(
        name, help=summary, description=summary[:1].upper() + summary[1:], parents=[server], allow_abbrev=False
    )
    command.set_defaults(run=run)
    return command


def _server_flags() -> argparse.ArgumentParser:
    parent = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    group = parent.add_argument_group("server")
    group.add_argument(
        "--server",
        metavar="HOST:PORT",
        default=os.environ.get("ASSAY_SERVER", "127.0.0.1:50051"),
        help="its address (ASSAY_SERVER; now %(default)s)",
    )
    group.add_argument("--tls", action="store_true", help="trust the system's roots; implied by the flags below")
    group.add_argument("--ca", metavar="FILE", help="PEM file of the authorities to trust")
    group.add_argument("--cert", metavar="FILE", help="PEM file of this client's certificate")
    group.add_argument("--key", metavar="FILE", help="PEM file of its key")
    # No default here: --help would show the token.
    group.add_argument("--token", help="bearer token (ASSAY_TOKEN, which other users of this machine can't read)")
    group.add_argument("--timeout", type=float, metavar="SECONDS", help="by default 30, for an upload 300")
    group.add_argument("--json", action="store_true", help="print JSON")
    return parent


def _model_flags(command: argparse.ArgumentParser) -> None:
    command.add_argument("model", metavar="MODEL", help="name, name@version or sha256:…")
    command.add_argument(
        "--input",
        action="append",
        required=True,
        metavar="[NAME=]FILE",
        help="a .npy, .npz (FILE.npz:array), .png or .jpg; [3] or [2:5] at the end picks instances",
    )
    command.add_argument(
        "--layout", action="append", type=per_input(str), metavar="[INPUT=]LAYOUT", help="NCHW, NHWC, NCDHW, NTC or NF"
    )
    command.add_argument("--request-id", metavar="ID", help="the id in the server's log; by default one is made")
    command.add_argument("--priority", choices=["low", "normal", "high"], default="normal")


def _explain_flags(command: argparse.ArgumentParser) -> None:
    asked = command.add_argument_group("what is explained")
    asked.add_argument(
        "--target",
        action="append",
        type=target,
        metavar="[OUTPUT:]WHICH",
        help="3, or 1,2, label=cat, top=1; by default the top score; again for several at once",
    )
    asked.add_argument("--target-scale", choices=["raw", "logit", "log"], default="raw")
    asked.add_argument("--explain-input", action="append", metavar="NAME", help="input that is perturbed")
    asked.add_argument("--instance-key", action="append", metavar="KEY", help="identity of each instance, in order")
    asked.add_argument("--seed", type=int, default=0)
    limits = command.add_argument_group("limits")
    limits.add_argument("--budget-rows", type=int, metavar="N", help="most rows it may run")
    limits.add_argument("--budget-time", type=float, metavar="SECONDS", help="most time it may take")
    limits.add_argument("--on-budget", choices=["fail", "partial"], default="fail", help="what happens then")
    limits.add_argument("--on-instance-error", choices=["fail", "skip"], default="fail")
    limits.add_argument("--validate-only", action="store_true", help="only check and estimate")
    limits.add_argument("--reproducible", action="store_true", help="the same bits again, or a refusal")
    limits.add_argument("--method-revision", type=int, metavar="N", help="refuse any other revision of the method")
    results = command.add_argument_group("results")
    results.add_argument("--out", type=Path, metavar="FILE", help="write the attributions: .npy of one input, or .npz")
    results.add_argument("--png", type=Path, metavar="FILE", help="write the map over the image; numbered if several")
    results.add_argument("--top", type=int, default=5, metavar="N", help="features shown (%(default)s)")
    results.add_argument("--return-rows", action="store_true", help="with --json, show the masks' scores too")
