"""What a finished result was made of, and whether that is what is there now."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from rewire.errors import InputError
from rewire.files import MANIFEST, content_hash, is_whole, read_json
from rewire.identity import changed_code, changed_options, is_neutral, listed, other_names
from rewire.pipeline.commands import command_of, option
from rewire.pipeline.document import CONFIG
from rewire.pipeline.documents import document_of, module_of
from rewire.provenance import PROVENANCE, Provenance
from rewire.sources import code_of

NO_PART = ("output", "force", "tracking", "hydra")  # of the arguments that decide a result


@dataclass(frozen=True)
class Result:
    """A finished result.

    Attributes:
        folder: where it is, OUTPUT/PROFILE/STAGE/CELL.
        config: what decided it, with the hashes of its inputs as `inputs`.
        code: file → hash of the code that made it; empty if that was not recorded.
    """

    folder: Path
    config: Mapping[str, Any]
    code: Mapping[str, str]

    def changes(self, decided: Mapping[str, Any]) -> list[str]:
        """Options in which what decides a result now differs from what decided this one."""
        return changed_options(self.config, decided)

    def other_inputs(self, inputs: Mapping[str, str | None]) -> list[str]:
        """Names of the inputs that are not those that this was made from."""
        return other_names(self.config.get("inputs") or {}, inputs)

    def other_code(self) -> str | None:
        """Words for the code that made it if that is not today's, else None."""
        return _other_code(self.folder, self.code)


def made(folder: Path) -> Result | None:
    """The result in `folder`; None if it is not finished or damaged."""
    if not is_whole(folder):
        return None
    try:
        config = read_config(folder)
    except (OSError, yaml.YAMLError):
        return None
    return Result(folder, config, read_json(folder / MANIFEST).get("code") or {})


def read_config(folder: Path) -> dict[str, Any]:
    """What decided the result in `folder`."""
    text = (folder / CONFIG).read_text(encoding="utf-8")
    return yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))


def hashes(paths: Mapping[str, Path]) -> dict[str, str | None]:
    """The content hash of every file, None for a missing one."""
    return {name: content_hash(path) if path.is_file() else None for name, path in paths.items()}


def recorded_hash(path: Path) -> str | None:
    """The content hash of a file of a result; of one that never came along, what is recorded.

    Published results come without their larger networks (`rewire restore`). None if it is neither
    there nor recorded.
    """
    return content_hash(path) if path.is_file() else absent(path.parent).get(path.name)


def absent(folder: Path) -> dict[str, str]:
    """File → hash of what belongs to a result and did not come along when it was restored."""
    try:
        return dict(read_json(folder / MANIFEST).get("absent") or {})
    except (InputError, AttributeError, TypeError, ValueError):
        return {}


def provenance_of(folder: Path) -> Provenance | None:
    """How the result in `folder` came about; None if that is missing or damaged."""
    try:
        return Provenance.read(folder / PROVENANCE)
    except InputError:
        return None


def is_current(folder: Path, sources: Mapping[str, Path]) -> bool:
    """Whether the result in `folder` was made from these files as they are, or were.

    Args:
        folder: of the result.
        sources: name of an input → its file.
    """
    try:
        recorded = read_config(folder).get("inputs") or {}
    except (OSError, yaml.YAMLError, AttributeError):
        return False
    found = {name: recorded_hash(path) for name, path in sources.items()}
    return all(
        digest is not None and recorded.get(name) == digest for name, digest in found.items()
    )


def remark(folders: Iterable[Path]) -> str:
    """A sentence, with a space before it, on results that other code made; empty without any."""
    found: dict[str, list[str]] = {}
    for folder in folders:
        try:
            code = read_json(folder / MANIFEST).get("code") or {}
        except InputError:
            continue  # not run
        if words := _other_code(folder, code):
            found.setdefault(folder.parent.name, []).append(words)
    parts = [f"{len(many)} of {stage}{_by(set(many))}" for stage, many in found.items()]
    return f" Results made by other code than today's: {'; '.join(parts)}." if parts else ""


def _other_code(folder: Path, code: Mapping[str, str]) -> str | None:
    """Words for the code (file → hash) that made a result if it is not today's, else None.

    A result that was published came without its code, but with the commit.
    """
    words = changed_code(code, code_of(module_of(folder.parent.name)))
    if code or not words:
        return words
    provenance = provenance_of(folder)
    return f"the code of commit {provenance.commit}" if provenance and provenance.commit else words


def _by(words: set[str]) -> str:
    """By which code, where it is one: many would be longer than what they belong to."""
    return f" by {words.pop()}" if len(words) == 1 else ""


def arguments_of(overrides: Iterable[str], config: Mapping[str, Any]) -> list[str]:
    """The overrides that decide a result: not where it lies, nor how fast it is made."""
    keys = {override: override.lstrip("+~").partition("=")[0] for override in overrides}
    return [
        override
        for override, key in keys.items()
        if key.partition(".")[0] not in NO_PART and not is_neutral(key, config)
    ]


def command(stage: str, arguments: Iterable[str], *, output: str | Path = "outputs") -> str:
    """The command line that makes a result."""
    where = [] if str(output) == "outputs" else [option("output", str(output))]
    return command_of(stage, [*arguments, *where])


def command_for(folder: Path) -> str:
    """The command that makes the result in a folder, OUTPUT/PROFILE/STAGE/CELL, anew."""
    stage, profile, output = folder.parent.name, folder.parents[1].name, folder.parents[2]
    provenance = provenance_of(folder)
    arguments = provenance.arguments if provenance else None
    if arguments is None:  # of an earlier version, or it came without: those of a standard cell
        config = read_config(folder)
        arguments = [
            f"{axis}={value['name'] if isinstance(value, Mapping) else value}"
            for axis in document_of(stage).axes
            if (value := config.get(axis)) is not None
        ]
    others = [argument for argument in arguments if not argument.startswith("profile=")]
    return command(stage, [f"profile={profile}", *others], output=output)


def refused(result: Result, changes: list[str]) -> InputError:
    """The error that keeps a finished result from being replaced by another one."""
    return InputError(
        f"'{result.folder}' holds a finished result of another configuration: {listed(changes)}. "
        "Allowed: arm=NAME for a cell of its own, or force=true to replace that result."
    )
