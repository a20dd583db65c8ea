"""Where the configuration lies."""

from __future__ import annotations

from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]
# A built package brings it along (setup.py); in a clone it is at the top.
CONF = PACKAGE / "conf" if (PACKAGE / "conf").is_dir() else PACKAGE.parents[1] / "conf"
SHARED = "shared"  # folder below it of the groups that every document has
