"""Where the configuration lies."""

from __future__ import annotations

from pathlib import Path

from rewire.registry import extension_folder

PACKAGE = Path(__file__).resolve().parents[1]
# A built package brings it along (setup.py); in a clone it is at the top.
CONF = PACKAGE / "conf" if (PACKAGE / "conf").is_dir() else PACKAGE.parents[1] / "conf"
SHARED = "shared"  # folder below it of the groups that every document has


def roots(document: str, conf: Path = CONF) -> list[Path]:
    """The folders with a document's configuration groups; the first that has a file counts."""
    own = extension_folder()
    return [conf / document, conf / SHARED, *([own / "conf" / document] if own else [])]
