"""How tests are dealt out where several processes run them (`make test`)."""

from pathlib import Path

import pytest

_SERVERS = {"integration", "robustness"}
_ANYWHERE = {"test_against_plain_loop", "test_canary", "test_cli", "test_evidence", "test_replay", "test_reproducible"}
"""Tests of what is answered, however long that takes."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config, items):
    """Servers are tried one after the other: they share the machine with the others' tests, not with each other."""
    here = Path(__file__).parent
    for item in items:
        if item.path.relative_to(here).parts[0] in _SERVERS:
            group = item.path.stem if item.path.stem in _ANYWHERE else "servers"
            item.add_marker(pytest.mark.xdist_group(group))
