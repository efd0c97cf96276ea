# Copyright The Assay Authors. SPDX-License-Identifier: Apache-2.0
"""Makes the demo's models and sample data from data sets that scikit-learn brings along.

    pip install torch==2.13.0 onnx==1.23.2 onnxscript==0.7.2 scikit-learn==1.9.1 skl2onnx==1.20.0 numpy==2.4.6
    pip install onnxruntime  # or onnxruntime-gpu
    python deploy/demo/make_models.py

Writes `models/` and `data/` beside this file; what it prints goes to `models/TRAINING.txt` too. Seeds are fixed and
torch runs one thread, so that the same versions on the same kind of CPU give the same files. Takes a few minutes.
"""

from __future__ import annotations

import importlib.metadata

from training import artefacts, cancer, digits, series

PACKAGES = ("torch", "onnx", "onnxscript", "scikit-learn", "skl2onnx", "numpy")


def main() -> None:
    """Makes every model and writes the report."""
    lines: list[str] = []

    def log(line: str) -> None:
        print(line, flush=True)
        lines.append(line)

    log("made with " + ", ".join(f"{name} {importlib.metadata.version(name)}" for name in PACKAGES))
    for family in (cancer, digits, series):
        family.make(log)
    (artefacts.MODELS / "TRAINING.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
