"""Measure what explaining costs beside the model, beside other packages, and beside others' calls.

    make bench ARGS="--quick"

All calls go over gRPC to a server process with its workers. Ratios come from pairs in random order with an A/A arm;
see README.md beside this file for how to read them.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import assay
from tests.bench import company, efficiency, fixed_cost, isolation, mixed, plots, report, roofline
from tests.bench.case import Case
from tests.bench.figures import Figure
from tests.bench.machine import described
from tests.bench.models import subject
from tests.bench.pairs import FULL, QUICK, Effort
from tests.bench.raw import sweep
from tests.bench.workloads import QUICK_PEERS, Workload, workloads
from tests.integration.server import ServerProcess

SUBJECTS = ("squeezenet", "shufflenet", "resnet50", "mlp", "forest")
PARTS = ("pairs", "roofline", "callers", "heavy", "mixed", "isolation")


@dataclass(frozen=True)
class Asked:
    """What is to be measured."""

    subjects: tuple[str, ...]
    parts: tuple[str, ...]
    effort: Effort
    quick: bool
    device: str
    out: Path
    peers: bool
    only: str

    def of(self, workload: Workload) -> Workload:
        """The workload with those of its peers that are to be run."""
        kept = () if not self.peers else QUICK_PEERS if self.quick else workload.peers
        return replace(workload, peers=tuple(peer for peer in workload.peers if peer in kept))

    @property
    def flags(self) -> tuple[str, ...]:
        """Of the server."""
        return ("--provider", self.device)


class Run:
    """One run: figures as they come, and what the plots need."""

    def __init__(self, asked: Asked) -> None:
        self.asked = asked
        self.figures: list[Figure] = []
        self.sweeps: dict[str, dict[tuple[int, int], float]] = {}
        self.curves: mixed.Curves = {}

    def measure(self) -> None:
        """All that was asked for; what is there already is written after each model."""
        machine = described()
        print("  ".join(f"{key} {value}" for key, value in machine.items() if key != "versions" and value))
        begun = time.monotonic()
        for name in self.asked.subjects:
            self._take(self._subject(name))
            self._write(machine, begun)
        if "isolation" in self.asked.parts and self.asked.device == "cpu":
            self._take(isolation.measure(self.asked.effort, self.asked.flags, self.asked.subjects))
        self._write(machine, begun)
        plots.draw(self.asked.out, self.sweeps, self.curves)
        print(f"\n{time.monotonic() - begun:.0f} s; written to {self.asked.out}/")

    def _subject(self, name: str) -> Iterator[Figure]:
        """All figures of one model, on a server that has just that one."""
        asked, held = self.asked, subject(name)
        raw = sweep(held.model, held.x, asked.device, held.batches, asked.effort.arm_s * 2, held.output)
        self.sweeps[name] = raw.swept
        if "roofline" in asked.parts:
            yield from roofline.measure(held, raw, asked.effort)
        with (
            tempfile.TemporaryDirectory() as folder,
            ServerProcess(Path(folder) / "store", *asked.flags) as server,
            assay.Client(server.address) as client,
        ):
            model = client.upload_model(held.model, name=name, timeout=300)
            chosen = [asked.of(workload) for workload in workloads(name) if workload.quick or not asked.quick]
            listed = [Case(workload, held, raw, server.address, client, model) for workload in chosen]
            if "pairs" in asked.parts:
                yield from fixed_cost.measure(listed[0], asked.effort)
                for case in listed:
                    if asked.only in case.workload.name:
                        yield from efficiency.measure(case, asked.effort, server.process.pid)
            yield from self._under_load(name, listed)

    def _under_load(self, name: str, listed: Sequence[Case]) -> Iterator[Figure]:
        asked = self.asked
        if name == "mlp" and "mixed" in asked.parts:
            yield from mixed.measure(listed[0].address, listed[0].model.ref, asked.effort, self.curves)
        if name in ("mlp", "squeezenet") and "callers" in asked.parts:
            yield from company.equal_callers(listed[0] if name == "mlp" else listed[1], asked.effort, self.curves)
        if name == "squeezenet" and "heavy" in asked.parts:
            rounds, rows = (1, 2000) if asked.quick else (3, company.HEAVY_ROWS)
            yield from company.light_beside_heavy(listed[0], self.curves, rounds, rows)

    def _take(self, figures: Iterator[Figure]) -> None:
        for figure in figures:
            if not self.figures or self.figures[-1].workload != figure.workload:
                print(f"\n{figure.workload}")
            print(report.line(figure), flush=True)
            self.figures.append(figure)

    def _write(self, machine: dict[str, object], begun: float) -> None:
        rates = {
            name: [{"threads": t, "batch": b, "rows_per_s": rate} for (t, b), rate in swept.items()]
            for name, swept in self.sweeps.items()
        }
        more = {"seconds": time.monotonic() - begun, "raw_rates": rates, "latencies_s": self.curves}
        report.write(self.asked.out, machine, self.figures, more)


def parsed(arguments: Sequence[str] | None = None) -> Asked:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    listed = lambda known: lambda text: tuple(_known(word, known) for word in text.split(","))  # noqa: E731
    parser.add_argument("--models", type=listed(SUBJECTS), help=f"of {', '.join(SUBJECTS)}; default all, --quick three")
    parser.add_argument("--parts", type=listed(PARTS), default=PARTS, help=f"of {', '.join(PARTS)}; default all")
    parser.add_argument("--only", default="", help="pairs of workloads whose name holds this, such as LIME")
    parser.add_argument("--no-peers", action="store_true", help="the service against the raw model alone")
    parser.add_argument("--quick", action="store_true", help="a few rounds: numbers to look at, no verdicts to cite")
    parser.add_argument("--pairs", type=int, help="rounds at most, in place of what the effort says")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--out", type=Path, default=Path("build/bench"), help="folder of report.md, report.json, plots")
    given = parser.parse_args(arguments)
    effort = QUICK if given.quick else FULL
    if given.pairs:
        effort = replace(effort, least=min(effort.least, given.pairs), most=given.pairs)
    models = given.models or (("squeezenet", "mlp", "forest") if given.quick else SUBJECTS)
    return Asked(models, given.parts, effort, given.quick, given.device, given.out, not given.no_peers, given.only)


def _known(word: str, known: Sequence[str]) -> str:
    if word not in known:
        raise argparse.ArgumentTypeError(f"{word!r} is none of {', '.join(known)}")
    return word


def main() -> None:
    """Run the benchmark."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that its server ends too
    os.environ.setdefault("TQDM_DISABLE", "1")
    warnings.simplefilter("ignore")  # peers have many, none about numbers
    Run(parsed()).measure()


if __name__ == "__main__":
    main()
