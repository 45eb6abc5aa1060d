"""A file that only takes room, for the moment when there is none: SQLite cannot even delete on a full disk."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Final

SIZE_BYTES: Final = 4 << 20
"""As much as the journal may hold that has to find a place in the database before anything else is possible."""


class Ballast:
    """`place` it while there is room, `release` it when there is none."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def place(self) -> bool:
        """Whether it is there now."""
        try:
            file = os.open(self._path, os.O_CREAT | os.O_RDWR, 0o600)
            try:
                os.posix_fallocate(file, 0, SIZE_BYTES)
            finally:
                os.close(file)
        except OSError:
            self.release()  # what is there of it would help nobody
            return False
        return True

    def release(self) -> None:
        """Make its room free."""
        with suppress(OSError):
            self._path.unlink()
