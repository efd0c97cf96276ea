"""`assay replay` and `assay verify`: what is done with kept decisions."""

from __future__ import annotations

import argparse
import dataclasses
import math
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from assay.cli import report
from assay.cli.connecting import connected, timeout
from assay.errors import AssayError, DataLoss, NotFound, Unavailable, invalid
from assay.explanation import Record
from assay.kept.folder import Evidence
from assay.kept.manifest import is_evidence
from assay.kept.replay import Difference, Replayed, read_record, replay


def replay_records(args: argparse.Namespace) -> int:
    """`assay replay`; the exit status, 0 where every record came out again within the tolerance."""
    evidence, records = _records(args.path, args.evidence)
    told: list[dict[str, Any]] = []
    stacks: Counter[tuple[tuple[str, str, str], ...]] = Counter()
    largest, identical, failed, count = 0.0, 0, 0, 0
    with connected(args) as client:
        for name, record in records:
            count += 1
            try:
                if isinstance(record, AssayError):
                    raise record
                replayed = replay(client, record, evidence, timeout=timeout(args))
            except Unavailable:
                raise
            except AssayError as error:
                failed += 1
                told.append(
                    {"name": name, "error": {"code": error.code, "reason": error.reason, "message": str(error)}}
                )
                if not args.json:
                    print(f"{name}: {error.code.lower().replace('_', ' ')}: {error}")
                continue
            identical += replayed.identical
            largest = max(largest, replayed.largest)
            stacks[tuple((c.name, _word(c.before), _word(c.now)) for c in replayed.stack)] += 1
            told.append(_as_json(name, replayed, args.tolerance))
            if not args.json:
                _print_replayed(name, replayed, args.tolerance)
    if args.json:
        report.print_json(told)
    else:
        _print_stacks(stacks)
        _print_sum(count, identical, failed, largest, args.tolerance)
    return int(failed > 0 or largest > args.tolerance)


def verify(args: argparse.Namespace) -> int:
    """`assay verify`; the exit status, 1 where something is wrong."""
    evidence = _evidence(args.path)
    problems = evidence.verify()
    try:
        lines = evidence.decisions()
    except DataLoss:  # which is among the problems
        lines = []
    failed = sum(line.status == "failed" for line in lines)
    if not problems and len(lines) == failed:
        problems = [_nothing(args.path)]
    if args.json:
        report.print_json({"records": len(lines) - failed, "failed": failed, "problems": problems})
        return int(bool(problems))
    for problem in problems:
        print(problem)
    without = "failed and has none" if failed == 1 else "failed and have none"
    instances = f"; {failed:,} instance{'s' * (failed != 1)} {without}" if failed else ""
    verdict = (
        f"{len(problems):,} problems" if len(problems) > 1 else "1 problem" if problems else "all as they were kept"
    )
    count = len(lines) - failed
    records = f"{count:,} record{'s' * (count != 1)} and {'its' if count == 1 else 'their'} tensors"
    print(f"{args.path}: {records}: {verdict}{instances}")
    return int(bool(problems))


def _nothing(path: Path) -> str:
    return f"{path} holds no records: nothing was kept in it yet"


def _evidence(path: Path) -> Evidence:
    if not is_evidence(path):
        raise invalid("path", f"{path} is no folder of evidence: it has no manifest.jsonl")
    return Evidence(path)


def _records(path: Path, folder: Path | None) -> tuple[Evidence, Iterator[tuple[str, Record | AssayError]]]:
    """The evidence, and (name, record, or what is wrong with it) of each record asked for."""
    if path.is_dir():
        if folder is not None:
            raise invalid("evidence", "belongs to the record of one decision; a folder holds its own")
        evidence = _evidence(path)
        if not evidence.done():
            raise NotFound(_nothing(path))
        return evidence, _all(evidence)
    data = path.read_bytes()
    if folder is None:
        folder = path.absolute().parent.parent
        if not is_evidence(folder):
            raise invalid("evidence", f"{path} stands in no folder of evidence: name the one that holds its tensors")
    evidence = _evidence(folder)
    record = read_record(data)
    if all(line.digest != record.digest for line in evidence.decisions()):
        raise DataLoss(f"{path} isn't a record that the manifest of {folder} lists: it was changed, or is of another")
    return evidence, iter([(str(record.load().get("key") or path.stem), record)])


def _all(evidence: Evidence) -> Iterator[tuple[str, Record | AssayError]]:
    for line in evidence.decisions():
        if line.status != "failed":
            try:
                yield str(line.name), evidence.record(line)
            except DataLoss as error:
                yield str(line.name), error


def _print_replayed(name: str, replayed: Replayed, tolerance: float) -> None:
    if replayed.identical:
        print(f"{name}: identical bits")
        return
    verdict = "within the tolerance" if replayed.within(tolerance) else "DIFFERS"
    print(f"{name}: {verdict}, by up to {_share(replayed.largest)}")
    for tensor in replayed.tensors:
        if not tensor.same:
            print(f"  {tensor.name:20} {_difference(tensor)}")


def _difference(tensor: Difference) -> str:
    if tensor.largest is None or tensor.relative is None:
        return "other bits; the old ones aren't at hand"
    moved = ", ".join(f"{m.name} {m.before:.6g} became {m.now:.6g}" for m in tensor.worst)
    return f"{tensor.largest:.2g}, {_share(tensor.relative)}" + (f": {moved}" if moved else "")


def _print_stacks(stacks: Mapping[tuple[tuple[str, str, str], ...], int]) -> None:
    """What computed then and computes now, once for all records that share it."""
    for changes, count in stacks.items():
        if changes:
            print(f"what computes differs ({count:,} record{'s' * (count != 1)}):")
            width = max(len(name) for name, _, _ in changes)
            for name, before, now in changes:
                print(f"  {name:{width}}  {before} became {now}")


def _print_sum(count: int, identical: int, failed: int, largest: float, tolerance: float) -> None:
    said = [f"{identical:,} with identical bits"] if identical else []
    if others := count - identical - failed:
        verdict = "within" if largest <= tolerance else "not all within"
        said.append(f"{others:,} by up to {_share(largest)}, {verdict} the tolerance of {tolerance:g}")
    if failed:
        said.append(f"{failed:,} couldn't be run again")
    print(f"{count:,} record{'s' * (count != 1)}: {'; '.join(said) or 'none'}")


def _share(relative: float) -> str:
    return f"{relative:.2g} of the largest" if math.isfinite(relative) else "an unknown amount"


def _word(value: Any) -> str:
    return "nothing" if value is None else str(value)


def _as_json(name: str, replayed: Replayed, tolerance: float) -> dict[str, Any]:
    return {
        "name": name,
        "identical": replayed.identical,
        "within_tolerance": replayed.within(tolerance),
        "largest_relative": replayed.largest,
        "tensors": [dataclasses.asdict(tensor) for tensor in replayed.tensors],
        "stack": [dataclasses.asdict(change) for change in replayed.stack],
        "record_digest": replayed.before.digest,
        "replayed_record_digest": replayed.now.digest,
    }
