"""A process that sends one mutated model after the other until it is ended: a line of JSON for each on its output.

`python -m tests.robustness.mutants.bad_caller ADDRESS SEED`. In a process of its own, so that making mutants doesn't
slow down the good caller who is watched.
"""

import base64
import itertools
import json
import sys
from dataclasses import asdict

from hypothesis import HealthCheck, Phase, given, seed, settings
from onnx import ModelProto

import assay
from tests.robustness.mutants.attempt import attempt
from tests.robustness.mutations import mutated, reshaped
from tests.robustness.samples import refused, taken

_A_ROUND = 200


def main(address, number):
    good, bad = taken(), refused()
    # Most by fields, and of models that are taken: what is refused at once is tried enough by others.
    by_fields = reshaped(good, ModelProto)
    strategy = by_fields | by_fields | by_fields | mutated(good) | mutated(bad)
    client = assay.Client(address)
    names = (f"mutant-{number}-{n}" for n in itertools.count())

    def one(data):
        steps = attempt(client, data, next(names))
        told = {"steps": [asdict(step) for step in steps]}
        if any(step.wrong for step in steps):
            told["data"] = base64.b64encode(data).decode()
        print(json.dumps(told), flush=True)

    for turn in itertools.count():
        chosen = settings(
            max_examples=_A_ROUND,
            phases=[Phase.generate],
            database=None,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        )
        made = given(data=strategy)(one)
        seed(f"{number} {turn}")(chosen(made))()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
