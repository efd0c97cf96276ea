"""shap's KernelExplainer around the same onnxruntime callable, whose coalitions the service scores as `Rows`.

The service serves no Shapley values: what is compared is scoring 2048 coalitions against 100 background rows. The
package solves its regression besides, which on so many rows is small.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from tests.bench.case import Case
from tests.bench.peers.peer import Peer


def peers(case: Case) -> Iterable[Peer]:
    """Its defaults; its documentation's only advice for speed, a smaller background, would be other rows."""
    import shap

    keep, background = np.asarray(case.method.keep), np.asarray(case.method.baseline)
    explainer = shap.KernelExplainer(case.score, background)
    held: dict[str, np.ndarray] = {}

    def run() -> None:
        explainer.shap_values(case.x[:1], nsamples=len(keep), silent=True, l1_reg=False)
        held["keep"] = explainer.maskMatrix[: explainer.nsamplesAdded] > 0.5
        held["scores"] = np.asarray(explainer.ey[: explainer.nsamplesAdded, 0])

    def check() -> tuple[np.ndarray, np.ndarray]:
        import assay

        same = assay.Rows(held["keep"], features=case.method.features, baseline=background)
        return held["scores"], np.asarray(case.explain(same).rows[0].scores)

    yield Peer("default", run, check, note=f"KernelExplainer, {len(keep)} coalitions")
