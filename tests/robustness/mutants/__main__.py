"""`make fuzz-serve`: mutated models over gRPC for long, and what all of them and the good caller beside them heard."""

import argparse
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

from tests.robustness.mutants.run import hunt
from tests.robustness.report import finish, table


def main():
    parser = argparse.ArgumentParser("python -m tests.robustness.mutants", description=__doc__)
    parser.add_argument("--seconds", type=float, default=3600)
    parser.add_argument("--callers", type=int, default=2, help="who send mutants, each a process")
    parser.add_argument("--seed", default="0")
    parser.add_argument("--out", type=Path, default=Path("build/soak"), help="folder of the report for machines")
    args = parser.parse_args()
    before_s = min(60.0, args.seconds / 5)
    with tempfile.TemporaryDirectory(prefix="assay-mutants-") as folder:
        found = hunt(Path(folder), seconds=args.seconds, callers=args.callers, seed=args.seed, before_s=before_s)
    minutes = found.seconds / 60
    beside = "all of them its first one, bit by bit" if not found.faults else "see the faults"
    summary = (
        f"{found.models:,} models in {minutes:.1f} min, {found.models / minutes:.0f} a minute, from {args.callers} "
        f"callers; {found.restarts:.0f} workers started again, {found.quarantined:.0f} models in quarantine. "
        f"{len(found.faults)} faults. The good caller: {len(found.during):,} answers, {beside}; one front process."
    )
    heard = sorted(found.heard.items(), key=lambda item: (item[0][0], -item[1]))
    rows = [[step, what, number, f"{found.slowest_s[step, what]:.1f} s"] for (step, what), number in heard]
    facts = asdict(found) | {
        "heard": [[*key, number] for key, number in found.heard.items()],
        "slowest_s": [[*key, seconds] for key, seconds in found.slowest_s.items()],
    }
    parts = [summary, _waits(found), _held(found), table(["step", "heard", "models", "slowest"], rows), *found.faults]
    return finish(f"Mutants for {args.seconds:g} s", parts, facts, args.out, passed=not found.faults)


def _waits(found):
    if not found.before or not found.during:
        return "The good caller had no answer."
    (half, most), (half_now, most_now) = found.waits()
    rows = [
        ["median", half * 1000, half_now * 1000, half_now / half],
        ["99 %", most * 1000, most_now * 1000, most_now / most],
    ]
    return table(["the good caller's wait, ms", "alone", "beside", "ratio"], rows)


def _held(found):
    if found.at_last is None:
        return "Nothing is known of what the server held at the end."
    first, last = found.at_first.as_json(), found.at_last.as_json()
    rows = [[what, first[what], last[what]] for what in ("front_bytes", "descriptors", "threads", "workers")]
    return table(["the server held", "at first", "at last"], rows)


if __name__ == "__main__":
    sys.exit(main())
