"""What a proof runs: the model's programs on the CPU, also where a GPU runs them for callers.

Whether rows interact is a question about the graph, not about the device. On a GPU it can't be asked so sharply: cuDNN
picks a convolution's algorithm by the size of the batch, and an honest model's scores then differ by 1e-5 to 1e-4.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable
from dataclasses import replace

from assayd.engine.onnxruntime_session import Session
from assayd.engine.precision import output_error
from assayd.engine.probes import Probe
from assayd.engine.program import Program
from assayd.errors import AssayError
from assayd.types.model import Signature

log = logging.getLogger(__name__)


def witnesses(plain: Program, opened: Session) -> tuple[Program, Session]:
    """Both on the CPU; themselves where they are there, or where the CPU can't run them: a proof on a GPU may find that
    rows interact which don't, and never the other way.
    """
    if plain.session.device.kind == "cpu":
        return plain, opened
    try:
        alone = plain.session.another(provider="cpu")
        together = alone if opened is plain.session else opened.another(provider="cpu")
    except AssayError as error:
        log.warning("a model is proven on the GPU, for the CPU can't run it", extra={"why": error.message})
        return plain, opened
    return replace(plain, session=alone), together


def refused(signature: Signature, opened: Session, witness: Session, probes: Iterable[Probe]) -> str:
    """Why the device can't run several rows that the CPU can, in words; empty where it can."""
    if opened is witness:
        return ""
    there, here = Program(opened, signature, batched=True), Program(witness, signature, batched=True)
    fails = math.isinf(output_error(here, there, probes))
    return "with several rows in a batch it fails on the GPU, or isn't finite there" if fails else ""
