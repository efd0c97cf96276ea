"""Which columns made a classifier say malignant."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

import assay
from assay.bars import save_bars

HERE = Path(__file__).parent
_SHOWN = 6


def explain_table(client: assay.Client, model: assay.Model, folder: Path) -> None:
    """One row by three methods: the reasons by name with their errors, as text and as bars."""
    data = np.load(HERE / "data" / "cancer.npz")
    probability = client.predict(model, data["X"])["output_probability"][:, 0]
    number = int(np.abs(probability - 0.9).argmin())  # a case that the model didn't find plain
    row = data["X"][number : number + 1]
    target = assay.Target(label="malignant", scale="logit")
    print(f"\nA tumour's row of a table of 30 columns: P(malignant) = {probability[number]:.2f}. Why?")

    ex = client.explain(model, row, assay.Occlusion(features=assay.Elements()), target)
    _show(ex, "by occlusion: log-odds that go with a column set to its training mean", "occlusion", row, folder)

    statistics = assay.GaussianTable.fit(data["X"])
    ex = client.explain(model, row, assay.Lime(sampling=statistics), target, keys=["case 1"])
    _show(ex, "by LIME, 5,000 rows drawn: log-odds for one standard deviation more", "lime", row, folder)

    spread = data["X"].std(axis=0)
    ex = client.explain(model, row, assay.Jacobian(outputs=("output_probability",), scale=spread))
    # By one unit of a column a derivative says little beside another's; by a standard deviation they compare.
    found = [
        replace(
            r, value=float(r.value * spread[r.feature]), error=float((r.error or 0.0) * spread[r.feature]), tied=False
        )
        for r in ex.top_reasons(len(spread), target=0, x=row)
    ]
    ranked = sorted(found, key=lambda r: -abs(r.value))[:_SHOWN]
    reasons = [replace(r, rank=n) for n, r in enumerate(ranked, 1)]
    how = "by the Jacobian: slope of P(malignant), by a standard deviation"
    _print(how, reasons)
    save_bars(folder / "table-jacobian.png", reasons, f"Why malignant? {how}")
    print(f"  bars: {folder / 'table-*.png'}")


def _show(ex: assay.Explanation, how: str, name: str, row: np.ndarray, folder: Path) -> None:
    reasons = ex.top_reasons(_SHOWN, x=row)
    _print(how, reasons)
    save_bars(folder / f"table-{name}.png", reasons, f"Why malignant? {how}")


def _print(how: str, reasons: list[assay.Reason]) -> None:
    print(f"  {how}")
    for reason in reasons:
        print(f"    {reason.rank}. {reason}")
