"""Rates against batch sizes, and latency curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

Sweeps = Mapping[str, Mapping[tuple[int, int], float]]
"""Raw rows/s by model and (threads, batch)."""


def draw(folder: Path, sweeps: Sweeps, curves: Mapping[str, Sequence[float]]) -> None:
    """rates.png and latencies.png; of what there is nothing of, and without matplotlib, there is no plot."""
    try:
        import matplotlib as mpl
    except ImportError:
        return

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    if sweeps:
        figure, axes = plt.subplots(1, len(sweeps), figsize=(4 * len(sweeps), 3.5), squeeze=False, layout="constrained")
        for axis, (name, rates) in zip(axes[0], sweeps.items(), strict=True):
            for threads in sorted({t for t, _ in rates}):
                batches = sorted(b for t, b in rates if t == threads)
                axis.plot(
                    batches,
                    [rates[threads, b] for b in batches],
                    marker="o",
                    label=f"{threads} thread{'s' * (threads > 1)}",
                )
            axis.set(xscale="log", xlabel="batch", ylabel="rows/s", title=name, ylim=(0, None))
            axis.legend()
        figure.savefig(folder / "rates.png", dpi=120)
        plt.close(figure)
    if curves:
        figure, axis = plt.subplots(figsize=(9, 7), layout="constrained")
        axis.set_prop_cycle(color=plt.get_cmap("tab20").colors)
        for name, seconds in curves.items():
            finite = np.sort(np.asarray(seconds, np.float64)) * 1e3
            left = 1 - (np.arange(len(finite)) + 0.5) / len(finite)
            axis.plot(finite, left, label=name)
        axis.set(
            xscale="log", yscale="log", xlabel="ms after the intended start", ylabel="share of calls that take longer"
        )
        figure.legend(fontsize=8, ncols=2, loc="outside lower center")
        figure.savefig(folder / "latencies.png", dpi=120)
        plt.close(figure)
