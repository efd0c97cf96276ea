# Copyright The Assay Authors. SPDX-License-Identifier: Apache-2.0
"""A convolutional network that finds a handwritten digit among pieces of other digits."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn

from . import artefacts, nets
from .artefacts import Float, Log

Int = NDArray[np.int64]

CANVAS = 64
SIDE = 24
EPOCHS = 14
COPIES = 4  # scenes drawn from each training digit in one epoch


def split() -> tuple[Float, Float, Int, Int]:
    """scikit-learn's digits, values 0..1: training [1347, 8, 8], held out [450, 8, 8], and their labels."""
    bunch = load_digits()
    images = (bunch.images / 16.0).astype(np.float32)
    parts = train_test_split(
        images, bunch.target.astype(np.int64), test_size=450, stratify=bunch.target, random_state=0
    )
    return parts[0], parts[1], parts[2], parts[3]


def upscale(images: Float, side: int) -> Float:
    """Resizes square images [N, S, S] to [N, side, side], bilinear with half-pixel centres and repeated edges."""
    size = images.shape[-1]
    at = np.clip((np.arange(side) + 0.5) * size / side - 0.5, 0, size - 1)
    low = np.minimum(at.astype(int), size - 2)
    weights = np.zeros((side, size), np.float32)
    weights[np.arange(side), low] = 1 - (at - low)
    weights[np.arange(side), low + 1] = at - low
    return np.asarray(weights @ images @ weights.T, np.float32)


class Scenes:
    """Draws scenes from one split of digits, so that no held-out digit shows up in training even as clutter."""

    def __init__(self, images: Float, labels: Int, seed: int) -> None:
        """Takes images [N, 8, 8] and labels [N]."""
        self.labels = labels
        self.scaled = {side: upscale(images, side) for side in (21, 24, 27)}
        self.random = np.random.default_rng(seed)

    def _fragment(self, label: int) -> Float:
        """A piece [6..10, 6..10] with ink on it, of a digit of another class than `label`."""
        while True:
            pick = int(self.random.integers(len(self.labels)))
            height, width = self.random.integers(6, 11, size=2)
            y, x = self.random.integers(0, SIDE - height + 1), self.random.integers(0, SIDE - width + 1)
            piece = self.scaled[SIDE][pick, y : y + height, x : x + width]
            if self.labels[pick] != label and piece.mean() > 0.25:
                return piece

    def one(self, pick: int, side: int) -> tuple[Float, Int]:
        """One scene [64, 64] and the digit's box (y0, x0, y1, x1).

        Clutter stays off the box, so that the truth of where the evidence lies is exact.
        """
        canvas = np.zeros((CANVAS, CANVAS), np.float32)
        top, left = self.random.integers(0, CANVAS - side + 1, size=2)
        for _ in range(int(self.random.integers(6, 11))):
            piece = self._fragment(int(self.labels[pick]))
            height, width = piece.shape
            while True:
                y, x = self.random.integers(0, CANVAS - height + 1), self.random.integers(0, CANVAS - width + 1)
                if y + height <= top or y >= top + side or x + width <= left or x >= left + side:
                    break
            spot = canvas[y : y + height, x : x + width]
            np.maximum(spot, piece, out=spot)
        canvas[top : top + side, left : left + side] = self.scaled[side][pick]
        canvas += self.random.normal(0.0, 0.06, canvas.shape).astype(np.float32)
        # 256 levels as in a stored picture; it also keeps the sample file small.
        canvas = np.round(np.clip(canvas, 0.0, 1.0) * 255) / np.float32(255)
        return canvas, np.array([top, left, top + side, left + side], np.int64)

    def draw(self, picks: Int, sides: tuple[int, ...]) -> tuple[Float, Int, Int]:
        """Scenes [N, 1, 64, 64], labels [N] and boxes [N, 4] of the digits at `picks` [N]."""
        scenes = [self.one(int(pick), int(self.random.choice(sides))) for pick in picks]
        images = np.stack([image for image, _ in scenes])[:, None]
        return images, self.labels[picks], np.stack([box for _, box in scenes])


class DigitNet(nn.Module):
    """Four strided or plain convolutions, each position seeing about one digit, and a maximum over positions."""

    def __init__(self) -> None:
        """Sets up the layers, weights drawn at random."""
        super().__init__()
        layers: list[nn.Module] = []
        for into, out, stride in ((1, 16, 2), (16, 32, 2), (32, 48, 1), (48, 48, 1)):
            layers += [nn.Conv2d(into, out, 3, stride, padding=1, bias=False), nn.BatchNorm2d(out), nn.ReLU()]
        self.features = nn.Sequential(*layers, nn.Conv2d(48, 64, 3, padding=1), nn.ReLU())
        self.head = nn.Sequential(nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(64, 10))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Maps images [N, 1, 64, 64] to logits [N, 10]."""
        logits: torch.Tensor = self.head(self.features(image))
        return logits


def _without_box(images: Float, boxes: Int, inside: bool) -> Float:
    """Copies of images [N, 1, 64, 64] with all that is inside (or outside) their boxes [N, 4] set to 0."""
    masked = np.zeros_like(images)
    for row, image, (y0, x0, y1, x1) in zip(masked, images, boxes, strict=True):
        kept = np.zeros(image.shape, bool)
        kept[:, y0:y1, x0:x1] = True
        row[:] = np.where(kept != inside, image, 0)
    return masked


def samples(labels: Int, count: int, random: np.random.Generator) -> Int:
    """Indices [count] into labels [N] that take the classes in turn; every digit at most once."""
    queues = [list(random.permutation(np.flatnonzero(labels == label))) for label in range(10)]
    return np.array([queues[i % 10].pop() for i in range(count)], np.int64)


def make(log: Log) -> None:
    """Trains, exports and checks the model `digits`, and stores held-out scenes."""
    train, held, train_labels, held_labels = split()
    scenes = Scenes(train, train_labels, seed=1)

    def epoch() -> tuple[Float, Int]:
        images, labels, _ = scenes.draw(np.tile(np.arange(len(train)), COPIES), (21, 24, 27))
        return images, labels

    log("digits: a digit among pieces of other digits")
    nets.seed(0)
    net = DigitNet()
    nets.fit(net, epoch, EPOCHS, 4e-3, log)
    model = nets.export(net, torch.zeros(1, 1, CANVAS, CANVAS), "image", dynamic=False)
    spec = {
        "inputs": [{"name": "image", "layout": "LAYOUT_NCHW"}],
        "outputs": [{"name": "logits", "classLabels": [str(label) for label in range(10)]}],
    }
    session = artefacts.describe(artefacts.save_model("digits", model, spec), log)

    held_scenes = Scenes(held, held_labels, seed=2)
    images, labels, boxes = held_scenes.draw(np.tile(np.arange(len(held)), 3), (SIDE,))
    for what, shown in (
        ("whole scenes", images),
        ("clutter erased", _without_box(images, boxes, inside=False)),
        ("digit erased", _without_box(images, boxes, inside=True)),
    ):
        log(f"  held-out accuracy, {what}: {artefacts.accuracy(artefacts.logits(session, shown, 1), labels):.4f}")

    picks = samples(held_labels, 24, np.random.default_rng(3))
    images, labels, boxes = held_scenes.draw(picks, (SIDE,))
    right = artefacts.accuracy(artefacts.logits(session, images, 1), labels)
    log(f"  data/digits.npz: {len(images)} held-out scenes, {round(right * len(images))} of them classified right")
    artefacts.save_data("digits", images=images, labels=labels, boxes=boxes)
