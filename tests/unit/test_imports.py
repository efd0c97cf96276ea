"""The house's import rules, as pyproject.toml states them, hold; and each of them can fail."""

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CONTRACTS = [c["id"] for c in tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]]

# For each contract: a module, and an import that breaks it.
PLANTS = {
    "one-way": ("service/assayd/store/planted.py", "assayd.engine"),
    "pure-methods": ("service/assayd/methods/planted.py", "assayd.store"),
    "methods-beside-features": ("service/assayd/features/planted.py", "assayd.methods"),
    "method-alone": ("service/assayd/methods/planted.py", "assayd.methods.occlusion"),
    "who-sees-methods": ("service/assayd/scheduler/planted.py", "assayd.methods"),
    "grpc-at-the-edge": ("service/assayd/scheduler/planted.py", "grpc"),
    "wire-at-the-edge": ("service/assayd/engine/planted.py", "assay.v1.tensor_pb2"),
    "stubs-only": ("service/assayd/api/planted.py", "assay.client"),
    "light-client": ("clients/python/assay/planted.py", "assayd.types"),
    "one-runtime-file": ("service/assayd/engine/planted.py", "onnxruntime"),
    "onnx-in-graph": ("service/assayd/engine/planted.py", "onnx"),
    "front-parses-nothing": ("service/assayd/engine/worker/spawn.py", "assayd.graph.admit"),
    "metrics-leaf": ("service/assayd/metrics.py", "assayd.types"),
    "metrics-in-one-file": ("service/assayd/scheduler/planted.py", "prometheus_client"),
}


def lint(tree: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    """Run import-linter on the two packages under `tree`."""
    return subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache", "--config", tree / "pyproject.toml", *flags],
        cwd=tree,
        env={**os.environ, "COLUMNS": "500", "PYTHONPATH": f"{tree / 'service'}{os.pathsep}{tree / 'clients/python'}"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_house_rules_hold():
    found = lint(ROOT)
    assert found.returncode == 0, found.stdout + found.stderr


def test_each_contract_has_a_plant():
    assert list(PLANTS) == CONTRACTS


@pytest.mark.parametrize("contract", PLANTS)
def test_planted_import_is_found(contract, tmp_path):
    for package in ("service/assayd", "clients/python/assay"):
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    where, imported = PLANTS[contract]
    with (tmp_path / where).open("a") as file:
        file.write(f"\nimport {imported}\n")

    found = lint(tmp_path, "--contract", contract)

    importer = where.removeprefix("service/").removeprefix("clients/python/").removesuffix(".py").replace("/", ".")
    assert found.returncode == 1
    assert f"{importer} -> {imported}" in found.stdout
