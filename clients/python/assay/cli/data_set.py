"""`assay explain` over a data set, kept as evidence or not."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from assay.cli import asking, report
from assay.cli.connecting import connected, timeout
from assay.cli.files import columns_of, load_inputs
from assay.cli.flags import method_of
from assay.cli.instances import print_instance
from assay.cli.output import write
from assay.cli.progress import Counter
from assay.cli.shown import Shown, rows_of
from assay.data.arrays import ArrayData, Dataset
from assay.data.files import read_data
from assay.errors import AssayError, InvalidArgument, invalid
from assay.explanation import Explanation, Instance, ResultWarning
from assay.kept.folder import Evidence
from assay.kept.keeping import Keeping
from assay.models import Model
from assay.plans import Event
from assay.tensors import Array

_DATA = re.compile(r"(?P<path>.+?\.(?:npz|parquet))(?:\[(?P<start>\d*)(?P<colon>:?)(?P<stop>\d*)\])?")

_SHOWN, _SHOWN_FAILED = 3, 10


def explain_data_set(args: argparse.Namespace) -> int:
    """Explains part by part; the exit status, 1 where an instance failed."""
    if args.validate_only:
        raise invalid("validate-only", "is for --input without --evidence: try it on a few instances")
    target = asking.targets(args)
    call = {**asking.settings(args, "skip"), "timeout": args.timeout, "request_id": args.request_id}
    with connected(args) as client:
        model = client.get_model(args.model, timeout=timeout(args))
        method, data = method_of(args, model), data_of(args, model)
        shown = asking.shown(args, model, {})
        if not args.evidence:
            events = client.explain_many(model, iter(data), method, target, **call)
            seen = _Seen(bool(args.out or args.png or args.json))
            _followed(events, seen, Counter(len(data)))
            status = _told(args, shown, data, seen)
            _written(args, shown, data, seen)
            return status
        with Evidence(args.evidence) as evidence:
            run = Keeping(client, evidence, model, data, method, target, beside_others=args.beside_others, **call)
            return _kept(args, evidence, run, shown, data)


def _kept(args: argparse.Namespace, evidence: Evidence, run: Keeping, shown: Shown, data: Dataset) -> int:
    wants_all = bool(args.out or args.png)
    if wants_all and evidence.done():
        said = f"{evidence.folder} holds instances already, which would be left out here"
        raise invalid("out" if args.out else "png", f"{said}: go on without this flag")
    seen = _Seen(wants_all or args.json)
    try:
        _followed(run, seen, Counter(len(data), lambda: run.skipped))
    except (AssayError, KeyboardInterrupt, OSError):
        # What lies in the folder: the last instance may be there and not be counted yet.
        if (there := len(evidence.done())) > run.skipped:
            said = f"{there:,} of {len(data):,} instances are kept in {evidence.folder}"
            print(f"assay: {said}; the same command goes on from there", file=sys.stderr)
        raise
    status = _told(args, shown, data, seen)
    if not args.json:
        told = [f"{run.kept:,} instance{'s' * (run.kept != 1)} kept"]
        if run.skipped:
            told.append(f"{run.skipped:,} {_were(run.skipped)} there before")
        if run.damaged:
            again = "is made again" if run.damaged == 1 else "are made again"
            told.append(f"{run.damaged:,} {_were(run.damaged)} damaged and {again}")
        if run.failed:
            told.append(f"{run.failed:,} failed (the same command tries {'them' if run.failed > 1 else 'it'} again)")
        print(f"{evidence.folder}: {', '.join(told)}")
    _written(args, shown, data, seen)
    return status


def _were(count: int) -> str:
    return "was" if count == 1 else "were"


def need_input(args: argparse.Namespace) -> None:
    """InvalidArgument without input, or with it in both ways."""
    if bool(args.data) == bool(args.input):
        raise invalid("data" if args.data else "input", "give --input for each input, or --data in its place")


def data_of(args: argparse.Namespace, model: Model) -> Dataset:
    """The instances that `--data` or `--input` name."""
    need_input(args)
    if not args.data:
        for flag in ("columns", "key_column"):
            if getattr(args, flag):
                raise invalid(flag.replace("_", "-"), "belongs to --data")
        inputs = load_inputs(args.input, model, asking.layouts(args, model.spec.layouts))
        return ArrayData(inputs, args.instance_key, args.part_rows)
    if args.instance_key:
        raise invalid("instance-key", "belongs to --input; --key-column says where the keys stand in --data")
    match = _DATA.fullmatch(args.data)
    if not match:
        raise invalid("data", f"{args.data!r} is no .npz or .parquet file, such as rows.parquet or rows.npz[0:100]")
    start, stop = (int(match[end]) if match[end] else None for end in ("start", "stop"))
    rows = slice(start, stop if match["colon"] or start is None else start + 1)
    columns, keys = columns_of(args.columns, model), args.key_column
    try:
        return read_data(match["path"], model, columns=columns, key_column=keys, rows=rows, part_rows=args.part_rows)
    except InvalidArgument as error:  # the flags are called like the parameters, but for this
        ((field, said),) = error.violations
        raise invalid(field.replace("_", "-"), said) from error


@dataclass
class _Seen:
    """What a run showed: the instances that are told, or all of them."""

    keeps_all: bool
    instances: list[Instance] = field(default_factory=list)
    failed: int = 0
    count: int = 0
    warnings: dict[str, list[ResultWarning]] = field(default_factory=dict)
    end: Explanation | None = None

    def add(self, event: Event) -> None:
        if isinstance(event, Explanation):
            self.end = event
        elif isinstance(event, Instance):
            self.count += 1
            self.failed += event.status is not None
            ordinary = self.count - self.failed <= _SHOWN if event.status is None else self.failed <= _SHOWN_FAILED
            if self.keeps_all or ordinary:
                self.instances.append(event)
            for warning in event.warnings:
                self.warnings.setdefault(warning.code, []).append(warning)

    def explanation(self) -> Explanation | None:
        """With the instances, in order; None where there was nothing to do."""
        if self.end is None:
            return None
        return replace(self.end, instances=tuple(sorted(self.instances, key=lambda i: i.position)))


def _followed(events: Iterable[Event], seen: _Seen, counter: Counter) -> None:
    with counter:
        for event in events:
            seen.add(event)
            if isinstance(event, Instance):
                counter.add()


def _told(args: argparse.Namespace, shown: Shown, data: Dataset, seen: _Seen) -> int:
    """Prints what came; the exit status."""
    explanation = seen.explanation()
    if explanation is None:  # all of it was kept before
        if args.json:
            report.print_json({"instances": []})
        return 0
    if args.json:
        report.explanation(explanation, True, _at_hand(shown, data, explanation.instances))
        return int(seen.failed > 0)
    report.explanation(replace(explanation, instances=()), False, shown)
    left = {True: _SHOWN_FAILED, False: _SHOWN}
    listed = []
    for instance in explanation.instances:
        failed = instance.status is not None
        if left[failed]:
            left[failed] -= 1
            listed.append(instance)
    shown = _at_hand(shown, data, listed)
    for instance in listed:
        print_instance(instance, shown)
    if seen.count > len(listed):
        print(f"… and {seen.count - len(listed):,} more instances")
    for warnings in seen.warnings.values():
        others = f" and {len(warnings) - 1:,} more" if len(warnings) > 1 else ""
        print(f"warning: {warnings[0].message} (instance {warnings[0].instance}{others})")
    return int(seen.failed > 0)


def _written(args: argparse.Namespace, shown: Shown, data: Dataset, seen: _Seen) -> None:
    explanation = seen.explanation()
    if explanation is not None:
        layouts = asking.layouts(args, shown.model.spec.layouts)
        write(args, explanation, _at_hand(shown, data, explanation.instances) if args.png else shown, layouts)


def _at_hand(shown: Shown, data: Dataset, instances: Sequence[Instance]) -> Shown:
    """With the inputs of those instances, for which the data are read once more."""
    wanted = {instance.position for instance in instances if instance.status is None}
    rows: dict[int, Mapping[str, Array]] = {}
    first = 0
    # Only the values of x would be missing: no reason to lose what was computed.
    with suppress(AssayError, OSError):
        for part in data:
            if not wanted or first > max(wanted):
                break
            inputs: Any = part.inputs
            own = rows_of({name: np.asarray(array) for name, array in inputs.items()})
            rows.update((first + n, row) for n, row in own.items() if first + n in wanted)
            first += len(own)
    return replace(shown, rows=rows)
