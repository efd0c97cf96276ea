"""Which of several failures a caller hears of."""

from __future__ import annotations

from assayd.errors import AssayError


def earliest(failures: BaseExceptionGroup[AssayError]) -> AssayError:
    """The failure of the earliest instance, so that the same request fails the same way."""
    flat: list[AssayError] = []
    queue: list[BaseException] = [failures]
    while queue:
        item = queue.pop()
        if isinstance(item, BaseExceptionGroup):
            queue.extend(item.exceptions)
        elif isinstance(item, AssayError):
            flat.append(item)
    return min(flat, key=lambda e: int(e.metadata.get("instance", "0")))
