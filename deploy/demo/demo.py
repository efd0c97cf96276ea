"""Starts assayd, explains three real models through the public client, shows what came out, and stops.

python deploy/demo/demo.py [--out FOLDER]
"""

from __future__ import annotations

import argparse
import re
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from pictures import contact_sheet

import assay

HERE = Path(__file__).parent
SHOWN_METRICS = (
    "assayd_rows_asked_total",
    "assayd_rows_run_total",
    "assayd_batches_total",
    "assayd_shared_batches_total",
    "assayd_batch_fill_ratio_sum",
    "assayd_models_loaded{",
    "assayd_provider{",
)


@contextmanager
def running_server() -> Iterator[tuple[str, str]]:
    """A server on free loopback ports with a store that goes with it; yields (gRPC address, metrics URL)."""
    with tempfile.TemporaryDirectory(prefix="assay-demo-") as folder:
        log = Path(folder) / "log"
        command = [sys.executable, "-m", "assayd", "serve", "--listen", "127.0.0.1:0", "--metrics", "127.0.0.1:0"]
        with log.open("w") as errors:
            server = subprocess.Popen(
                [*command, "--store", str(Path(folder) / "store")], stdout=subprocess.PIPE, stderr=errors, text=True
            )
        try:
            line = server.stdout.readline() if server.stdout is not None else ""
            found = re.search(r"gRPC on (\S+) and metrics on (\S+)", line)
            if found is None:
                sys.exit(f"assayd didn't start:\n{log.read_text()}")
            print(line.strip())
            yield found[1], found[2]
        finally:
            server.send_signal(signal.SIGTERM)
            status = server.wait(30)
            if server.stdout is not None:
                server.stdout.close()
        print(f"\nassayd stopped with status {status}")


def upload(client: assay.Client, name: str) -> assay.Model:
    """Upload one of the demo's models with its spec, and say how its rows will run."""
    folder = HERE / "models" / name / "1"
    spec = assay.ModelSpec.from_json((folder / "spec.json").read_text())
    model = client.upload_model(folder / "model.onnx", name=name, spec=spec)
    how = f"batches of up to {model.batching.max_rows}" if model.batching.mode == "batched" else model.batching.reason
    print(f"  {name:<13}{model.size_bytes / 1000:>6.0f} kB   rows run in {how}")
    return model


def share_inside(attribution: np.ndarray, inside: np.ndarray) -> float:
    """Share of the evidence for the score (positive attribution) that lies inside a region."""
    evidence = np.maximum(attribution, 0)
    return float(evidence[inside].sum() / evidence.sum())


def explain_digits(client: assay.Client, model: assay.Model, picture: Path) -> None:
    """Show where in a cluttered image the digit is that the CNN found."""
    data = np.load(HERE / "data" / "digits.npz")
    images, labels, boxes = data["images"], data["labels"], data["boxes"]
    begun = time.perf_counter()
    ex = client.explain(model, {"image": images}, assay.Occlusion(window=(8, 8), stride=(4, 4), baseline=0.0))
    seconds = time.perf_counter() - begun
    print(f"\nDigits among clutter: {len(images)} images, occlusion by 8x8 windows, stride 4")
    print("  image  truth  answer  logit   evidence inside the digit's box   (chance: the box's area)")
    maps, shares, chances = ex.attributions["image"][:, 0], [], []
    for n, (y0, x0, y1, x1) in enumerate(boxes):
        inside = np.zeros(maps[n].shape, bool)
        inside[y0:y1, x0:x1] = True
        shares.append(share_inside(maps[n], inside))
        chances.append(inside.mean())
        if n < 6:
            (target,) = ex.targets[n]
            bar = "#" * round(20 * shares[-1])
            print(
                f"  {n:>5}  {labels[n]:>5}  {target.label:>6}  {ex.scores[n]:>5.1f}   {shares[-1]:>4.0%}  {bar:<20}"
                f"             {chances[-1]:>4.0%}"
            )
    mean, chance = np.mean(shares), np.mean(chances)
    print(f"   mean of {len(images)}                     {mean:>4.0%}  {'':<20}             {chance:>4.0%}")
    rate = ex.usage.rows_run / seconds
    print(f"  {ex.usage.rows_run} rows in {ex.usage.batches} batches, {rate:,.0f} rows/s from request to answer")
    pick = range(6)
    captions = [ex.targets[n][0].label for n in pick]
    contact_sheet(picture, [(images[n, 0], maps[n], boxes[n]) for n in pick], captions)
    print(f"  overlays: {picture}")


def explain_series(client: assay.Client, model: assay.Model) -> None:
    """Show when in a series the digit is that the LSTM read."""
    data = np.load(HERE / "data" / "series.npz")
    ex = client.explain(model, data["rows"], assay.Occlusion(window=(2,), stride=(1,)))
    shares = []
    for attribution, (start, stop) in zip(ex.attributions["rows"], data["spans"], strict=True):
        inside = np.zeros(attribution.shape, bool)
        inside[start:stop] = True
        shares.append(share_inside(attribution, inside))
    chance = float(np.mean(data["spans"][:, 1] - data["spans"][:, 0])) / data["rows"].shape[1]
    print(f"\nDigits read row by row: {len(shares)} series, occlusion by 2 steps")
    print(f"  evidence inside the digit's 8 of 24 steps: {np.mean(shares):.0%}   (chance {chance:.0%})")


def explain_table(client: assay.Client, model: assay.Model) -> None:
    """Show which columns made the classifier say malignant."""
    data = np.load(HERE / "data" / "cancer.npz")
    probability = client.predict(model, data["X"])["output_probability"][:, 0]
    row = int(np.abs(probability - 0.9).argmin())  # a case that the model didn't find plain
    target = assay.Target(label="malignant", scale="logit")
    ex = client.explain(model, data["X"][row : row + 1], assay.Occlusion(features=assay.Elements()), target)
    values = ex.feature_values[0]
    print("\nA tumour's row of a table: each of 30 columns set to its training mean, one at a time")
    print(f"  P(malignant) = {probability[row]:.2f}. Most of it by these columns, in log-odds:")
    for feature in np.argsort(-np.abs(values))[:5]:
        print(f"  {values[feature]:>+7.2f}  {ex.features[feature].name}")
    lime = assay.Lime(sampling=assay.GaussianTable.fit(data["X"]))
    fitted = client.explain(model, data["X"][row : row + 1], lime, target, keys=["case 1"])
    slopes, errors = fitted.feature_values[0], fitted.feature_errors[0]
    rows = fitted.usage.rows_run
    print(f"  The same by LIME, {rows} rows drawn around it; log-odds for one standard deviation more:")
    for feature in np.argsort(-np.abs(slopes))[:5]:
        print(f"  {slopes[feature]:>+7.2f} ± {errors[feature]:.2f}  {fitted.features[feature].name}")


def show_metrics(url: str) -> None:
    """A few figures of the server's Prometheus page."""
    page = urllib.request.urlopen(url, timeout=10).read().decode()  # noqa: S310 - the server's own page
    print(f"\nFrom {url}")
    for line in page.splitlines():
        if line.startswith(SHOWN_METRICS):
            print(f"  {line}")


def main() -> None:
    """Run the demo."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("demo-out"), help="folder for the pictures")
    out: Path = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    with running_server() as (address, metrics), assay.Client(address) as client:
        print("\nUploaded")
        digits, series, table = (upload(client, name) for name in ("digits", "series", "cancer-mlp"))
        explain_digits(client, digits, out / "digits.png")
        explain_series(client, series)
        explain_table(client, table)
        show_metrics(metrics)


if __name__ == "__main__":
    main()
