"""The parser of the command line."""

from __future__ import annotations

import argparse
import inspect
import os
from collections.abc import Callable
from pathlib import Path

import assay
from assay.cli import comparing, explaining, kept, models
from assay.cli.flags import add_method_flags, per_input, target
from assay.cli.usage import Parser
from assay.methods import METHODS, Jacobian, Method

_MODEL = "name, name@version or sha256:…"
_EVIDENCE = "keep each record and what it names; what is there already is skipped, so a stopped run goes on"


def parser() -> argparse.ArgumentParser:
    """`assay COMMAND …`; every command's function stands in `run`."""
    root = Parser(
        prog="assay", description="Explain what ONNX models answer, through an Assay server.", allow_abbrev=False
    )
    root.add_argument("--version", action="version", version=f"assay {assay.__version__}")
    listed = root.add_subparsers(title="commands", required=True, metavar="COMMAND")
    server = _server_flags()

    upload = _command(listed, "upload", "store a model under a name", models.upload, server)
    upload.add_argument("path", metavar="MODEL.onnx", type=Path)
    upload.add_argument("--name", required=True, help="name to store it under")
    upload.add_argument("--version", help="its version, immutable; by default the next integer")
    upload.add_argument("--spec", type=Path, metavar="FILE.json", help="protobuf JSON of its ModelSpec")

    names = _command(listed, "models", "list the models", models.models, server)
    names.add_argument("name", nargs="?", help="only this one's versions")

    delete = _command(listed, "delete", "remove a name with all its versions, or one version", models.delete, server)
    delete.add_argument("model", metavar="MODEL", help="name, or name@version")

    _command(listed, "info", "say what the server is", models.info, server)

    predict = _command(listed, "predict", "run a model on inputs as they are", explaining.predict, server)
    predict.add_argument("model", metavar="MODEL", help=_MODEL)
    _input_flags(predict, required=True)
    predict.add_argument("--output", action="append", metavar="NAME", help="output wanted; by default all")
    predict.add_argument("--out", type=Path, metavar="FILE.npz", help="write the outputs")

    _explain_command(listed, server)
    _compare_command(listed, server)

    replay = _command(listed, "replay", "run kept decisions again and compare", kept.replay_records, server)
    replay.add_argument("path", metavar="RECORD-or-DIR", type=Path, help="a record, or a folder of --evidence")
    replay.add_argument("--evidence", type=Path, metavar="DIR", help="where the record's tensors are, if not beside it")
    replay.add_argument(
        "--tolerance",
        type=float,
        default=1e-5,
        metavar="SHARE",
        help="of the largest value of a tensor; the exit status is 1 where it differs by more (%(default)s)",
    )

    verify = listed.add_parser(
        "verify",
        help="check kept records and tensors",
        description="Check kept records and tensors",
        allow_abbrev=False,
    )
    verify.add_argument("path", metavar="DIR", type=Path, help="a folder of --evidence")
    verify.add_argument("--json", action="store_true", help="print JSON")
    verify.set_defaults(run=kept.verify)
    return root


def _explain_command(listed: argparse._SubParsersAction[Parser], server: Parser) -> None:
    explain = listed.add_parser("explain", help="explain what a model answered", allow_abbrev=False)
    methods = explain.add_subparsers(title="methods", required=True, metavar="METHOD")
    for name, kind in METHODS.items():
        method = _command(methods, name, _summary(kind), explaining.explain, server)
        method.add_argument("model", metavar="MODEL", help=_MODEL)
        _input_flags(method, required=False)
        _data_flags(method)
        method.set_defaults(method=kind)
        method.epilog = add_method_flags(method.add_argument_group(name), kind)
        _target_flags(method, kind)
        _limit_flags(method)
        method.add_argument("--validate-only", action="store_true", help="only check and estimate")
        results = method.add_argument_group("results")
        results.add_argument(
            "--out", type=Path, metavar="FILE", help="write the attributions: .npy of one input, or .npz"
        )
        results.add_argument(
            "--png", type=Path, metavar="FILE", help="write the map over the image, else bars; numbered if several"
        )
        results.add_argument("--top", type=int, default=5, metavar="N", help="features shown (%(default)s)")
        results.add_argument("--return-rows", action="store_true", help="with --json, show the rows' scores too")
        results.add_argument("--evidence", type=Path, metavar="DIR", help=_EVIDENCE)
        results.add_argument("--beside-others", action="store_true", help="though DIR holds evidence of other requests")


def _compare_command(listed: argparse._SubParsersAction[Parser], server: Parser) -> None:
    command = listed.add_parser("compare", help="ask two models the same", allow_abbrev=False)
    methods = command.add_subparsers(title="methods", required=True, metavar="METHOD")
    # A Jacobian and rows of one's own have no value for each feature.
    for name, kind in ((name, kind) for name, kind in METHODS.items() if name in ("occlusion", "lime")):
        method = _command(methods, name, _summary(kind), comparing.compare_models, server)
        method.add_argument("model", metavar="MODEL_A", help=_MODEL)
        method.add_argument("other", metavar="MODEL_B", help="the one it is compared with")
        _input_flags(method, required=False)
        _data_flags(method)
        method.set_defaults(method=kind, return_rows=False)
        method.epilog = add_method_flags(method.add_argument_group(name), kind)
        _target_flags(method, kind)
        _limit_flags(method)
        results = method.add_argument_group("results")
        results.add_argument(
            "--reasons", type=int, default=3, metavar="K", help="top features that count (%(default)s)"
        )
        results.add_argument("--top", type=int, default=10, metavar="N", help="features shown (%(default)s)")


def _summary(kind: type) -> str:
    return inspect.cleandoc(kind.__doc__ or "").partition("\n")[0]


def _command(
    listed: argparse._SubParsersAction[Parser],
    name: str,
    summary: str,
    run: Callable[[argparse.Namespace], int | None],
    server: Parser,
) -> argparse.ArgumentParser:
    command = listed.add_parser(
        name, help=summary, description=summary[:1].upper() + summary[1:], parents=[server], allow_abbrev=False
    )
    command.set_defaults(run=run)
    return command


def _server_flags() -> Parser:
    parent = Parser(add_help=False, allow_abbrev=False)
    group = parent.add_argument_group("server")
    group.add_argument(
        "--server",
        metavar="HOST:PORT",
        default=os.environ.get("ASSAY_SERVER", "127.0.0.1:50051"),
        help="its address (ASSAY_SERVER; now %(default)s)",
    )
    group.add_argument("--tls", action="store_true", help="trust the system's roots; implied by the flags below")
    group.add_argument("--ca", metavar="FILE", help="PEM file of the authorities to trust (ASSAY_CA)")
    group.add_argument("--cert", metavar="FILE", help="PEM file of this client's certificate")
    group.add_argument("--key", metavar="FILE", help="PEM file of its key")
    # No default here: --help would show the token.
    group.add_argument("--token", help="bearer token (ASSAY_TOKEN, which other users of this machine can't read)")
    group.add_argument(
        "--timeout", type=float, metavar="SECONDS", help="by default 30, for an upload 300, for a data set none"
    )
    group.add_argument("--json", action="store_true", help="print JSON")
    return parent


def _input_flags(command: argparse.ArgumentParser, *, required: bool) -> None:
    command.add_argument(
        "--input",
        action="append",
        required=required,
        metavar="[NAME=]FILE",
        help="a .npy, .npz (FILE.npz:array), .png or .jpg; [3] or [2:5] at the end picks instances",
    )
    command.add_argument(
        "--layout", action="append", type=per_input(str), metavar="[INPUT=]LAYOUT", help="NCHW, NHWC, NCDHW, NTC or NF"
    )
    command.add_argument("--request-id", metavar="ID", help="the id in the server's log; by default one is made")
    command.add_argument("--priority", choices=["low", "normal", "high"], default="normal")


def _data_flags(command: argparse.ArgumentParser) -> None:
    data = command.add_argument_group("a data set")
    data.add_argument(
        "--data",
        metavar="FILE",
        help="in place of --input: .npz or .parquet with the inputs by name, explained part by part; [2:5] picks rows",
    )
    data.add_argument(
        "--columns",
        action="append",
        type=per_input(lambda text: tuple(text.split(","))),
        metavar="[INPUT=]A,B,C",
        help="columns that make an input; by default that of its name, or those of its feature names",
    )
    data.add_argument("--key-column", metavar="NAME", help="column or array of --data with each instance's key")
    data.add_argument("--part-rows", type=int, metavar="N", help="most instances sent at once (256, fewer large ones)")


def _target_flags(command: argparse.ArgumentParser, kind: type[Method]) -> None:
    which = "3, or 1,2, label=cat, top=1; by default the top score; again for several at once"
    if kind is Jacobian:  # whose request is for whole outputs
        which = (
            "element of the outputs that is shown and drawn: 3, or 1,2, label=cat, top=1; by default a few of the "
            "largest are shown and the largest is drawn; again for several"
        )
    asked = command.add_argument_group("what is explained")
    asked.add_argument("--target", action="append", type=target, metavar="[OUTPUT:]WHICH", help=which)
    if kind is not Jacobian:
        asked.add_argument("--target-scale", choices=["raw", "logit", "log"], default="raw")
    asked.add_argument("--explain-input", action="append", metavar="NAME", help="input that is perturbed")
    asked.add_argument("--instance-key", action="append", metavar="KEY", help="identity of each instance, in order")
    asked.add_argument("--seed", type=int, default=0)


def _limit_flags(command: argparse.ArgumentParser) -> None:
    limits = command.add_argument_group("limits")
    limits.add_argument("--budget-rows", type=int, metavar="N", help="most rows it, or each part of --data, may run")
    limits.add_argument("--budget-time", type=float, metavar="SECONDS", help="most time it, or each part, may take")
    limits.add_argument("--on-budget", choices=["fail", "partial"], default="fail", help="what happens then")
    limits.add_argument(
        "--on-instance-error", choices=["fail", "skip"], help="skip of a data set and of evidence, else fail"
    )
    limits.add_argument("--reproducible", action="store_true", help="the same bits again, or a refusal")
    limits.add_argument("--method-revision", type=int, metavar="N", help="refuse any other revision of the method")
