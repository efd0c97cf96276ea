"""Admits models from its standard input, each after its length in 4 bytes, and answers a line for each."""

import resource
import sys
import traceback

from assayd.errors import InvalidModel, TooLarge
from assayd.graph.programs import programs_of
from assayd.types.admission import AdmissionLimits

_LIMITS = AdmissionLimits(nodes=10_000, ends=100, depth=32, weight_bytes=50_000_000)
_MEMORY_BYTES = 4 * 2**30


def outcome(data):
    """In a word, or a traceback for what should not have happened."""
    try:
        programs_of(data, _LIMITS)
    except (InvalidModel, TooLarge):
        return "refused"
    except MemoryError:
        return "out of memory"
    except Exception:  # noqa: BLE001
        return traceback.format_exc()
    return "admitted"


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))
    while length := sys.stdin.buffer.read(4):
        said = outcome(sys.stdin.buffer.read(int.from_bytes(length, "little")))
        print(repr(said), flush=True)
