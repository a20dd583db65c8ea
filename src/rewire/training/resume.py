"""Which state a training goes on from."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rewire.errors import InputError
from rewire.files import fingerprint, read_json, write_json
from rewire.identity import differs_from
from rewire.training.checkpoint import is_whole

STATE, MARKER = "last.ckpt", "config.json"  # and what it is of


def resumable(checkpoints: Path, state_of: Mapping[str, Any]) -> Path | None:
    """The state to go on from: one of this configuration and code.

    Hours may be in a whole one of others: it is set aside, and found again when configuration and
    code are its own once more. What is damaged, or of nobody knows what, is deleted. All of it is
    said.

    Args:
        checkpoints: folder of the training's states; notes there what the next ones are of.
        state_of: configuration and code, as plain values.
    """
    state, why = checkpoints / STATE, ""
    if state.is_file():
        whole, other = is_whole(state), differs_from(checkpoints / MARKER, state_of)
        if whole and not other:
            return state
        why = f"the training state '{state}' is {f'of {other}' if whole else 'damaged'}"
        if whole and (aside := set_aside(checkpoints)):
            why += f" and is set aside in '{aside}'"
        else:
            state.unlink()
        why += ": "
    write_json(checkpoints / MARKER, dict(state_of))
    for aside in sorted(checkpoints.glob("aside-*")):
        if not differs_from(aside / MARKER, state_of) and is_whole(aside / STATE):
            (aside / STATE).replace(state)
            print(f"{why}the training goes on from the state in '{aside}'", flush=True)
            return state
    if why:
        print(f"{why}the training starts anew", flush=True)
    return None


def set_aside(checkpoints: Path) -> Path | None:
    """Move the state into a folder of its own, with what it is of; None: nobody knows that."""
    try:
        mark = read_json(checkpoints / MARKER)
    except InputError:
        return None
    aside = checkpoints / f"aside-{fingerprint(mark)[:16]}"
    write_json(aside / MARKER, mark)
    (checkpoints / STATE).replace(aside / STATE)
    return aside
