"""A memory that forgets what pages no longer show: bounded by the page, with no size to choose."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class Recent(Generic[K, V]):
    """Makes a value once and keeps it for as long as each page asks for it."""

    def __init__(self, make: Callable[[K], V]) -> None:
        self._make = make
        self._last: dict[K, V] = {}
        self._page: dict[K, V] = {}

    def __call__(self, key: K) -> V:
        page = self._page
        if key in page:
            return page[key]
        made = page[key] = self._last[key] if key in self._last else self._make(key)
        return made

    def turn_page(self) -> None:
        """Forget what the page that ends here did not ask for."""
        self._last, self._page = self._page, {}

    def __len__(self) -> int:
        return len(self._last)
