"""`make soak`: a leaking server first, which must be found, then the real one for long."""

import argparse
import sys
import tempfile
from pathlib import Path

from tests.robustness.report import finish, table
from tests.robustness.soak.run import soak

_CONTROL_S = 120.0


def main():
    parser = argparse.ArgumentParser("python -m tests.robustness.soak", description=__doc__)
    parser.add_argument("--seconds", type=float, default=1800)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("build/soak"), help="folder of the report for machines")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="assay-soak-") as folder:
        control_s = min(_CONTROL_S, args.seconds)
        print(f"a server that leaks, for {control_s:g} s", flush=True)
        control = _run(Path(folder) / "leaking", control_s, args.seed, module="tests.robustness.leaky")
        print(f"the server, for {args.seconds:g} s", flush=True)
        found = _run(Path(folder) / "real", args.seconds, args.seed)
    caught = {"front_bytes", "descriptors", "malloc_bytes"} <= control.leaking
    passed = caught and not found.faults
    calls = found.outcomes.calls
    summary = (
        f"{calls:,} calls in {found.seconds:,.0f} s, {calls / found.seconds:.0f} a second; "
        f"{found.outcomes.faulty} faults. The server that leaks was {'caught' if caught else 'NOT caught'}: "
        f"{', '.join(sorted(control.leaking)) or 'nothing'}."
    )
    parts = [
        summary,
        _trends(found),
        "The same of the one that leaks:",
        _trends(control),
        table(["in use at rest", "once warm", "at the end", "allowed more", "leaks"], _grown(found)),
        f"{found.end.models - found.warm.models} models came and went between the two.",
        table(["at rest", "before", "after"], _rest(found)),
        table(["who asked", "heard", "calls"], found.outcomes.table()),
        *found.faults,
    ]
    facts = {"real": _facts(found), "control": _facts(control), "caught": caught}
    return finish(f"Soak of {args.seconds:g} s", parts, facts, args.out, passed=passed)


def _run(folder, seconds, seed, **more):
    folder.mkdir()
    return soak(folder, seconds=seconds, seed=seed, every_s=max(0.2, min(2.0, seconds / 300)), **more)


def _trends(found):
    head = ["held", "after warm-up", "at the end", "growth per 1000 calls (99 %)", "allowed", "leaks"]
    rows = []
    for t in found.trends:
        unit = 1e6 if t.what.endswith("bytes") else 1
        interval = f"{t.slope / unit:.3f} ({t.low / unit:.3f} to {t.high / unit:.3f})"
        named = t.what.replace("_bytes", ", MB").replace("worker,", "oldest worker,")
        rows.append([named, t.first / unit, t.last / unit, interval, t.allowed / unit, "yes" if t.leaks else "no"])
    return table(head, rows)


def _grown(found):
    rows = []
    for g in found.grown:
        unit = 1e6 if g.what.endswith("bytes") else 1
        named = g.what.replace("_bytes", ", MB")
        rows.append([named, g.first / unit, g.last / unit, g.allowed / unit, "yes" if g.leaks else "no"])
    return rows


def _rest(found):
    before, after = found.before.as_json(), found.after.as_json()
    rows = [[what.replace("_bytes", ", MB"), *_shown(what, before, after)] for what in before if what != "calls"]
    return [*rows, ["files of the store", "", found.store["files"]]]


def _shown(what, *held):
    return [each[what] / 1e6 if what.endswith("bytes") else each[what] for each in held]


def _facts(found):
    return {
        "seconds": found.seconds,
        "calls": found.outcomes.calls,
        "heard": found.outcomes.table(),
        "faults": found.faults,
        "trends": [t.as_json() for t in found.trends],
        "warm": found.warm.as_json(),
        "end": found.end.as_json(),
        "grown": [g.as_json() for g in found.grown],
        "before": found.before.as_json(),
        "after": found.after.as_json(),
        "store": found.store,
        "samples": [sample.as_json() for sample in found.samples],
    }


if __name__ == "__main__":
    sys.exit(main())
