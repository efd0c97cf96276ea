"""What explaining costs beside the model: rows/s through gRPC over the raw onnxruntime rate, in one run.

    python -m tests.bench.efficiency [--pairs N] [--models squeezenet,…]

Each pair runs, in random order, the raw loop (the best of the batch sizes tried, one array run again and again, nothing
made or read), the same occlusion through a server process, and the raw loop once more. The ratio of the two raw runs is
the A/A arm: what this machine's noise alone does to a ratio.
"""

from __future__ import annotations

import argparse
import math
import random
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import onnxruntime as ort

import assay
from tests.integration.server import ServerProcess
from tests.models.light import images, light_model

DIGITS = Path(__file__).parents[2] / "deploy" / "demo"
BATCHES = (8, 16, 32)


def raw_session(model: bytes) -> tuple[ort.InferenceSession, str]:
    """The model as the server opens it, in this process."""
    from assayd.graph.programs import programs_of

    options = ort.SessionOptions()
    options.log_severity_level = 4
    session = ort.InferenceSession(programs_of(model).opened, options, providers=["CPUExecutionProvider"])
    return session, session.get_inputs()[0].name


def raw_seconds(session: ort.InferenceSession, name: str, batch: np.ndarray, rows: int) -> float:
    """Seconds for at least `rows` rows, scaled to exactly so many."""
    runs = math.ceil(rows / len(batch))
    begun = time.perf_counter()
    for _ in range(runs):
        session.run(None, {name: batch})
    return (time.perf_counter() - begun) * rows / (runs * len(batch))


def measure(name: str, model: bytes, x: np.ndarray, method: assay.Occlusion, pairs: int, server: ServerProcess) -> None:
    """Print one line for one model."""
    with assay.Client(server.address) as client:
        uploaded = client.upload_model(model, name=name)
        explain = lambda: client.explain(uploaded, x, method, target=0, layout="NCHW", timeout=600)  # noqa: E731
        rows = explain().usage.rows_run
        session, input_name = raw_session(model)
        trials = {b: raw_seconds(session, input_name, np.repeat(x, b, 0), rows) for b in BATCHES}
        best = min(trials, key=lambda b: trials[b])
        batch = np.repeat(x, best, 0)
        ratios, controls, rates = [], [], []
        for _ in range(pairs):
            arms = {"raw": 0.0, "service": 0.0, "again": 0.0}
            for arm in random.sample(list(arms), 3):
                begun = time.perf_counter()
                arms[arm] = raw_seconds(session, input_name, batch, rows) if arm != "service" else 0.0
                if arm == "service":
                    explain()
                    arms[arm] = time.perf_counter() - begun
            ratios.append(arms["raw"] / arms["service"])
            controls.append(arms["raw"] / arms["again"])
            rates.append(rows / arms["service"])
    spread = max(abs(c - 1) for c in controls)
    print(
        f"  {name:<12}{rows:>6} rows  raw batch {best:>2}   {statistics.median(rates):>8.1f} rows/s   efficiency "
        f"{statistics.median(ratios):.3f}   A/A {statistics.median(controls):.3f} (worst {spread:.1%} off)"
    )


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=7)
    parser.add_argument("--models", default="digits,squeezenet,shufflenet")
    asked = parser.parse_args()
    print(f"onnxruntime {ort.__version__}, {asked.pairs} pairs, medians")
    with tempfile.TemporaryDirectory() as folder, ServerProcess(Path(folder) / "store") as server:
        for name in asked.models.split(","):
            if name == "digits":
                model = (DIGITS / "models" / "digits" / "1" / "model.onnx").read_bytes()
                x = np.load(DIGITS / "data" / "digits.npz")["images"][:1]
                method = assay.Occlusion(window=(8, 8), stride=(2, 2))
            else:
                model, x = light_model(name), images(1)
                method = assay.Occlusion(window=(16, 16), stride=(8, 8))
            measure(name, model, x, method, asked.pairs, server)


if __name__ == "__main__":
    main()
