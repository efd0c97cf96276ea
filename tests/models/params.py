"""What tests are parametrised by. Apart from the models: the benchmark uses those, and has no pytest."""

import pytest

from tests.models import light

LIGHT = [pytest.param(name, marks=[pytest.mark.slow] if name in light.LARGE else []) for name in light.NAMES]
"""The large ones are slow."""
