"""Where in a cluttered image the digit is that a CNN found."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
from evidence import share_inside
from pictures import contact_sheet

import assay

HERE = Path(__file__).parent
_SHOWN = 6
_SIDE, _CELLS = 64, 16


def explain_digits(client: assay.Client, model: assay.Model, picture: Path) -> None:
    """All images by occlusion; the first few by LIME and by the Jacobian too, side by side in the picture."""
    data = np.load(HERE / "data" / "digits.npz")
    images, boxes = data["images"], data["boxes"]
    begun = time.perf_counter()
    ex = client.explain(model, {"image": images}, assay.Occlusion(window=(8, 8), stride=(4, 4), baseline=0.0))
    seconds = time.perf_counter() - begun
    inside = np.zeros((len(images), _SIDE, _SIDE), bool)
    for n, (y0, x0, y1, x1) in enumerate(boxes):
        inside[n, y0:y1, x0:x1] = True
    print(f"\nDigits among clutter: {len(images)} images, occlusion by 8x8 windows, stride 4")
    print("  image  truth  answer  logit   evidence inside the digit's box   (chance: the box's area)")
    maps = ex.attributions["image"][:, 0]
    shares = [share_inside(m, i) for m, i in zip(maps, inside, strict=True)]
    for n in range(_SHOWN):
        label, bar = ex.targets[n][0].label, "#" * round(20 * shares[n])
        print(
            f"  {n:>5}  {data['labels'][n]:>5}  {label:>6}  {ex.scores[n]:>5.1f}   {shares[n]:>4.0%}  {bar:<20}"
            f"             {inside[n].mean():>4.0%}"
        )
    mean, chance, blank = np.mean(shares), inside.mean(), ""
    print(f"   mean of {len(images)}                     {mean:>4.0%}  {blank:<20}             {chance:>4.0%}")
    rate = ex.usage.rows_run / seconds
    print(f"  {ex.usage.rows_run} rows in {ex.usage.batches} batches, {rate:,.0f} rows/s from request to answer")
    few = images[:_SHOWN]
    lime = client.explain(model, {"image": few}, assay.Lime(num_samples=1000, features=assay.Grid(8, 8)))
    slopes = _slopes(client, model, few, [t[0].index[0] for t in ex.targets[:_SHOWN]])
    by_method = {"occlusion": maps[:_SHOWN], "LIME": lime.attributions["image"][:, 0], "Jacobian": slopes}
    for name, found in by_method.items():
        share = np.mean([share_inside(m, i) for m, i in zip(found, inside, strict=False)])
        print(f"  by {name:<10} {share:>4.0%} of the evidence inside the box, over the first {_SHOWN}")
    contact_sheet(picture, few[:, 0], by_method, boxes, [t[0].label for t in ex.targets])
    print(f"  overlays: {picture}")


def _slopes(client: assay.Client, model: assay.Model, images: np.ndarray, answers: list[int]) -> np.ndarray:
    """What a little more light in each of 16x16 cells would do to the answer's logit, [B, H, W]."""
    method = assay.Jacobian(features=assay.Grid(_CELLS, _CELLS), error_estimate=False)
    ex = client.explain(model, {"image": images}, method)
    jacobian = ex.jacobian["logits"]["features"]
    cells = np.stack([jacobian[n, answer] for n, answer in enumerate(answers)]).reshape(-1, _CELLS, _CELLS)
    return np.kron(cells, np.ones((1, _SIDE // _CELLS, _SIDE // _CELLS)))
