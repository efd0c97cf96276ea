"""When in a series the digit is that an LSTM read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from evidence import share_inside
from pictures import strips

import assay

HERE = Path(__file__).parent
_SHOWN = 4


def explain_series(client: assay.Client, model: assay.Model, picture: Path) -> None:
    """All series by three methods, with a time step as a feature; the first few side by side in the picture."""
    data = np.load(HERE / "data" / "series.npz")
    rows, spans = data["rows"], data["spans"]  # [B, steps, 8]
    steps = rows.shape[1]
    one_a_step = assay.Segments(np.arange(steps)[:, None])
    inside = np.zeros((len(rows), steps), bool)
    for n, (start, stop) in enumerate(spans):
        inside[n, start:stop] = True
    occlusion = client.explain(model, rows, assay.Occlusion(window=(2,), stride=(1,)))
    answers = [t[0].index[0] for t in occlusion.targets]
    lime = client.explain(model, rows, assay.Lime(num_samples=500, features=one_a_step))
    jacobian = client.explain(model, rows, assay.Jacobian(features=one_a_step))
    slopes = jacobian.jacobian["logits"]["features"][np.arange(len(rows)), answers]
    by_method = {
        "occlusion": occlusion.attributions["rows"].reshape(len(rows), steps, -1)[:, :, 0],
        "LIME": lime.feature_values,
        "Jacobian": slopes,
    }
    print(f"\nDigits read row by row: {len(rows)} series of {steps} steps, the digit in 8 of them")
    for name, values in by_method.items():
        share = np.mean([share_inside(v, i) for v, i in zip(values, inside, strict=True)])
        print(f"  by {name:<10} {share:>4.0%} of the evidence inside the digit's steps   (chance {inside.mean():.0%})")
    labels = [t[0].label for t in occlusion.targets]
    strips(picture, rows[:_SHOWN], by_method, spans, labels)
    print(f"  strips: {picture}")
