# Copyright The Assay Authors. SPDX-License-Identifier: Apache-2.0
"""Training and export shared by the two torch models."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import nn

from .artefacts import Float, Log, without_metadata

Epoch = Callable[[], tuple[Float, NDArray[np.int64]]]


def seed(value: int) -> None:
    """Makes what follows repeatable: one thread, one seed, no kernel that sums in a changing order."""
    torch.set_num_threads(1)
    torch.manual_seed(value)
    torch.use_deterministic_algorithms(True)


def fit(net: nn.Module, epoch: Epoch, epochs: int, peak: float, log: Log, batch: int = 64) -> None:
    """Trains with AdamW under a one-cycle schedule; `epoch` draws fresh rows [N, ...] and labels [N] each time."""
    optimiser = torch.optim.AdamW(net.parameters(), lr=peak, weight_decay=0.01)
    schedule: torch.optim.lr_scheduler.OneCycleLR | None = None
    net.train()
    for number in range(1, epochs + 1):
        rows, labels = epoch()
        steps = len(rows) // batch
        if schedule is None:
            schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, peak, total_steps=steps * epochs)
        total, right = 0.0, 0
        for part in torch.randperm(len(rows))[: steps * batch].split(batch):
            target = torch.from_numpy(labels)[part]
            scores = net(torch.from_numpy(rows)[part])
            loss = nn.functional.cross_entropy(scores, target, label_smoothing=0.05)
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimiser.step()
            schedule.step()
            total += loss.item()
            right += int((scores.argmax(dim=1) == target).sum())
        log(f"  epoch {number:2}: loss {total / steps:.4f}, training accuracy {right / (steps * batch):.4f}")
    net.eval()


def export(net: nn.Module, example: torch.Tensor, feed: str, dynamic: bool) -> onnx.ModelProto:
    """Exports a net with one input `feed` and the output "logits".

    With `dynamic` the first axis is free ("N"), without it stays at the example's extent.
    """
    shapes = ({0: torch.export.Dim("N")},) if dynamic else None
    program = torch.onnx.export(
        net,
        (example,),
        input_names=[feed],
        output_names=["logits"],
        opset_version=18,
        dynamo=True,
        dynamic_shapes=shapes,
        external_data=False,
        verbose=False,
    )
    if program is None:
        raise RuntimeError("the exporter returned nothing")
    return without_metadata(program.model_proto)
