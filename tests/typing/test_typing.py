"""The library's types, as a user's mypy sees them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent


def test_public_api():
    """Results keep their types through `run`, `gather_bounded`, decorators and streams; wrong arguments are errors."""
    checked = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--follow-imports=silent", HERE / "public_api.py"],
        cwd=HERE.parents[1],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (0, "Success: no issues found in 1 source file\n") == (checked.returncode, checked.stdout), checked.stdout
