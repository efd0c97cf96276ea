"""Import all of the light client where nothing but its base dependencies is installed, at the versions given.

Usage: python -W error light_client.py CONSTRAINTS. Runs without pytest, which isn't part of that install.
"""

import importlib
import importlib.metadata
import importlib.util
import pkgutil
import sys
from pathlib import Path

floor = Path(sys.argv[1]).read_text().split()
for line in floor:
    name, bound = line.split("==")
    version = importlib.metadata.version(name)
    assert f"{version}.".startswith(f"{bound}."), f"{name} {version} is installed, not the floor {bound}"
for name in ("PIL", "rich", "onnx", "onnxruntime", "sklearn", "skimage", "pydantic"):
    assert importlib.util.find_spec(name) is None, f"{name} is no part of the light install"

import assay  # noqa: E402

# The command line comes with an extra.
names = [module.name for module in pkgutil.walk_packages(assay.__path__, "assay.")]
names = [name for name in names if not name.startswith(("assay.cli", "assay.__main__"))]
for name in names:
    importlib.import_module(name)
assert any(name.endswith("_pb2_grpc") for name in names), "no stubs found"

from assay.v1 import explain_service_pb2, tensor_pb2  # noqa: E402

request = explain_service_pb2.ExplainRequest(model="digits")
request.inputs["image"].CopyFrom(tensor_pb2.Tensor(dtype=tensor_pb2.DATA_TYPE_FLOAT, shape=[1], data=b"\0\0\x80?"))
assert explain_service_pb2.ExplainRequest.FromString(request.SerializeToString()) == request

print(f"{len(names)} modules imported on Python {sys.version.split()[0]} with {' '.join(floor)}")
