# Copyright The Assay Authors. SPDX-License-Identifier: Apache-2.0
"""A recurrent network that reads a handwritten digit row by row somewhere in a longer, noisy sequence."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from . import artefacts, digits, nets
from .artefacts import Float, Log

Int = NDArray[np.int64]

STEPS = 24
ROWS = 8
EPOCHS = 20
COPIES = 8  # sequences drawn from each training digit in one epoch


def draw(images: Float, labels: Int, picks: Int, random: np.random.Generator) -> tuple[Float, Int, Int]:
    """Sequences [N, 24, 8], labels [N] and spans [N, 2] (first step, step past the last) of the digits at picks [N].

    Around the digit's eight rows lie noise and two pairs of rows cut from digits of other classes; they stay a step
    or more away from it, so that the truth of where the evidence lies is exact.
    """
    rows = np.zeros((len(picks), STEPS, ROWS), np.float32)
    starts = random.integers(0, STEPS - ROWS + 1, size=len(picks))
    for row, pick, start in zip(rows, picks, starts, strict=True):
        free = [step for step in range(STEPS - 1) if step + 2 < start or step > start + ROWS]
        others = random.choice(np.flatnonzero(labels != labels[pick]), size=2)
        for step, other in zip(random.choice(free, size=2, replace=False), others, strict=True):
            cut = random.integers(0, ROWS - 1)
            row[step : step + 2] = images[other, cut : cut + 2]
        row[start : start + ROWS] = images[pick]
    rows += random.normal(0.0, 0.06, rows.shape).astype(np.float32)
    rows = np.round(np.clip(rows, 0.0, 1.0) * 255) / np.float32(255)
    return rows, labels[picks], np.stack([starts, starts + ROWS], axis=1).astype(np.int64)


class SeriesNet(nn.Module):
    """One LSTM over the steps; the state after the last step decides."""

    def __init__(self, hidden: int = 64) -> None:
        """Sets up an LSTM with `hidden` units, weights drawn at random."""
        super().__init__()
        self.lstm = nn.LSTM(ROWS, hidden, batch_first=True)
        self.head = nn.Linear(hidden, 10)

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        """Maps sequences [N, 24, 8] to logits [N, 10]."""
        states, _ = self.lstm(rows)
        logits: torch.Tensor = self.head(states[:, -1])
        return logits


def _without_span(rows: Float, spans: Int, inside: bool) -> Float:
    """Copies of rows [N, 24, 8] with all steps inside (or outside) their spans [N, 2] set to 0."""
    step = np.arange(STEPS)[None]
    kept = (step >= spans[:, :1]) & (step < spans[:, 1:])
    return np.where((kept != inside)[..., None], rows, np.float32(0))


def make(log: Log) -> None:
    """Trains, exports and checks the model `series`, and stores held-out sequences."""
    train, held, train_labels, held_labels = digits.split()
    random = np.random.default_rng(4)

    def epoch() -> tuple[Float, Int]:
        rows, labels, _ = draw(train, train_labels, np.tile(np.arange(len(train)), COPIES), random)
        return rows, labels

    log("series: a digit read row by row in a noisy sequence")
    nets.seed(0)
    net = SeriesNet()
    nets.fit(net, epoch, EPOCHS, 6e-3, log)
    model = nets.export(net, torch.zeros(2, STEPS, ROWS), "rows", dynamic=True)
    spec = {
        "inputs": [{"name": "rows", "layout": "LAYOUT_NTC"}],
        "outputs": [{"name": "logits", "classLabels": [str(label) for label in range(10)]}],
    }
    session = artefacts.describe(artefacts.save_model("series", model, spec), log)

    random = np.random.default_rng(5)
    rows, labels, spans = draw(held, held_labels, np.tile(np.arange(len(held)), 3), random)
    for what, shown in (
        ("whole sequences", rows),
        ("noise erased", _without_span(rows, spans, inside=False)),
        ("digit erased", _without_span(rows, spans, inside=True)),
    ):
        log(f"  held-out accuracy, {what}: {artefacts.accuracy(artefacts.logits(session, shown, 64), labels):.4f}")
    apart = np.abs(artefacts.logits(session, rows[:64], 1) - artefacts.logits(session, rows[:64], 64)).max()
    log(f"  rows alone and in a batch of 64 differ by at most {apart:.1e}")

    picks = digits.samples(held_labels, 24, np.random.default_rng(6))
    rows, labels, spans = draw(held, held_labels, picks, random)
    right = artefacts.accuracy(artefacts.logits(session, rows, 64), labels)
    log(f"  data/series.npz: {len(rows)} held-out sequences, {round(right * len(rows))} of them classified right")
    artefacts.save_data("series", rows=rows, labels=labels, spans=spans)
