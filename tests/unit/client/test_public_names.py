from __future__ import annotations

import ast
import inspect
import subprocess
import sys

import assay
from assay.client import Client
from assay.requests import Settings, explain_request


def test_everything_exported_exists_and_nothing_else_is_imported_at_the_top():
    tree = ast.parse(inspect.getsource(assay))
    imported = {
        alias.asname or alias.name
        for node in tree.body
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("assay")
        for alias in node.names
    }
    assert imported | {"__version__"} == set(assay.__all__)
    assert all(hasattr(assay, name) for name in assay.__all__)


def test_everything_exported_says_what_it_is():
    assert [n for n in assay.__all__ if n != "__version__" and not (getattr(assay, n).__doc__ or "").strip()] == []


def test_streams_take_the_settings_that_calls_take():
    shared = set(Settings.__annotations__)
    call = set(inspect.signature(Client.explain).parameters)
    assert call == shared | {"self", "model", "inputs", "method", "target", "timeout", "request_id"}
    message = set(inspect.signature(explain_request).parameters)
    assert message == shared | {"model", "inputs", "method", "target", "request_id"}


def test_importing_the_package_pulls_in_none_of_its_extras():
    code = "import sys, assay, assay.cli; print([m for m in ('PIL', 'rich', 'ml_dtypes') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
