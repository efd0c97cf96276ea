"""The committed stubs say what the protos say, come from the oldest supported gRPC, and import cleanly with the newest.

`make proto-check` compares them byte by byte; this needs no old grpcio-tools. `make floor` imports them at the floor.
"""

import importlib
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet

ROOT = Path(__file__).parents[2]
STUBS = ROOT / "clients/python/assay/v1"
PROTOS = sorted((ROOT / "protos/assay/v1").glob("*.proto"))


@pytest.fixture(scope="module")
def compiled(tmp_path_factory) -> dict[str, FileDescriptorProto]:
    image = tmp_path_factory.mktemp("protos") / "image.binpb"
    buf = Path(sys.executable).with_name("buf")
    subprocess.run([buf, "build", "protos", "--exclude-source-info", "-o", image], cwd=ROOT, check=True)
    return {file.name: bare(file) for file in FileDescriptorSet.FromString(image.read_bytes()).file}


def bare(file: FileDescriptorProto) -> FileDescriptorProto:
    """Leave out what one compiler writes and the other doesn't: JSON names that are the default, buf's own fields."""
    file.DiscardUnknownFields()
    todo = list(file.message_type)
    while todo:
        message = todo.pop()
        todo.extend(message.nested_type)
        for field in message.field:
            field.ClearField("json_name")
    return file


@pytest.mark.parametrize("proto", PROTOS, ids=lambda path: path.stem)
def test_stub_says_what_the_proto_says(proto, compiled):
    stub = importlib.import_module(f"assay.v1.{proto.stem}_pb2")
    said = FileDescriptorProto()
    stub.DESCRIPTOR.CopyToProto(said)
    assert bare(said) == compiled[f"assay/v1/{proto.name}"]


def test_no_stub_without_its_proto():
    names = {proto.stem for proto in PROTOS}
    services = {name for name in names if name.endswith("_service")}
    assert {path.name for path in STUBS.glob("*_pb2*")} == {
        *(f"{name}_pb2{end}" for name in names for end in (".py", ".pyi")),
        *(f"{name}_pb2_grpc.py" for name in services),
    }


def test_stubs_come_from_the_oldest_supported_grpc():
    """Newer generators write stubs that refuse older runtimes."""
    from assay.v1 import explain_service_pb2_grpc

    base = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    (floor,) = (requirement.partition(">=")[2] for requirement in base if requirement.startswith("grpcio>="))
    assert f"{explain_service_pb2_grpc.GRPC_GENERATED_VERSION}.".startswith(f"{floor}.")


def test_stubs_import_without_a_warning():
    """In a process of its own, since this one has imported them already."""
    names = [f"assay.v1.{path.stem}" for path in sorted(STUBS.glob("*_pb2*.py"))]
    subprocess.run([sys.executable, "-W", "error", "-c", f"import {', '.join(names)}"], check=True)
