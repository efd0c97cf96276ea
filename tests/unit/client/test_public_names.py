from __future__ import annotations

import ast
import inspect
import subprocess
import sys

import assay
from assay.async_client import AsyncClient
from assay.calls import Calls
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


STREAMS = ("explain_stream", "explain_message", "explain_many")


def methods(kind):
    return {name: f for name, f in inspect.getmembers(kind, inspect.isfunction) if not name.startswith("_")}


def test_both_clients_have_the_same_methods_with_the_same_parameters_and_descriptions():
    plans, plain, waiting = methods(Calls), methods(Client), methods(AsyncClient)
    assert set(plain) == set(waiting) == set(plans) | {"close"}
    assert inspect.signature(Client) == inspect.signature(AsyncClient)
    for name, method in plain.items():
        ours, theirs = inspect.signature(method), inspect.signature(waiting[name])
        assert ours.parameters == theirs.parameters, name
        assert method.__doc__ == waiting[name].__doc__, name
        assert inspect.iscoroutinefunction(waiting[name]) == (name not in STREAMS), name
        returned = theirs.return_annotation.removeprefix("Async")
        assert ours.return_annotation == returned, name
        if name in plans:
            assert ours.parameters == inspect.signature(plans[name]).parameters, name
            assert (method.__name__, method.__qualname__) == (name, f"Client.{name}")
            assert waiting[name].__qualname__ == f"AsyncClient.{name}"


def test_importing_the_package_pulls_in_none_of_its_extras():
    code = "import sys, assay, assay.cli; print([m for m in ('PIL', 'rich', 'ml_dtypes') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
