"""Starts assayd, explains three real models by three methods through the public client, and stops.

python deploy/demo/demo.py [--out FOLDER]
"""

from __future__ import annotations

import argparse
from pathlib import Path

from digits import explain_digits
from series import explain_series
from server import running_server, show_metrics
from table import explain_table

import assay

HERE = Path(__file__).parent


def upload(client: assay.Client, name: str) -> assay.Model:
    """Upload one of the demo's models with its spec, and say how its rows will run."""
    folder = HERE / "models" / name / "1"
    spec = assay.ModelSpec.from_json((folder / "spec.json").read_text())
    model = client.upload_model(folder / "model.onnx", name=name, spec=spec)
    how = f"batches of up to {model.batching.max_rows}" if model.batching.mode == "batched" else model.batching.reason
    print(f"  {name:<13}{model.size_bytes / 1000:>6.0f} kB   rows run in {how}")
    return model


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
        explain_series(client, series, out / "series.png")
        explain_table(client, table, out)
        show_metrics(metrics)


if __name__ == "__main__":
    main()
