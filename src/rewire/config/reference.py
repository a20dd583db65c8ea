"""Help, reference and JSON schema, made of what the options declare (`rewire options`)."""

from __future__ import annotations

import argparse
import dataclasses
import json
import shutil
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import yaml
from omegaconf import DictConfig, OmegaConf
from pydantic.fields import FieldInfo

from rewire.config.launcher import IsolatedConfig
from rewire.files import write_text
from rewire.options import children, section, words
from rewire.pipeline.document import Document
from rewire.pipeline.documents import DOCUMENTS, document_of
from rewire.pipeline.paths import CONF, roots
from rewire.pipeline.schema import DATA, schema_of
from rewire.registry import OPEN

ALWAYS = ("sparsity", "seed", "arm", "output", "force", "tracking", "profile")
NARROWEST, WIDEST, LONGEST = 60, 100, 34
PAGE = Path("docs/options.md")
SCHEMAS = Path("docs/schema")
HEAD = """\
# Options

Written by `rewire options` from what the options declare; a test holds it to that. Numbers may be
written as `8/255`. `rewire thesis train --help` shows those of one stage, with the values that they
would have. Editors check `conf/` with [the schemas](schema/), e.g. in a YAML file of a group:
`# yaml-language-server: $schema=../../../docs/schema/thesis.json#/properties/trainer`.
"""
HOW = (
    "An option, the value that it has here, what it means, and what is allowed. With -m a sweep "
    "over lists of values (seed=0,1). Flags: --help, --cfg job, --hydra-help."
)
INTERPOLATED = {"type": "string", "pattern": r"^\$\{.+\}$"}
FRACTION = {"type": "string", "pattern": r"^\s*-?[0-9.]+\s*/\s*-?[0-9.]+\s*$"}


@dataclasses.dataclass(frozen=True)
class Option:
    """An option by its dotted path; what the user names is `NAME` in it."""

    path: str
    kind: Any
    help: str

    def of(self, values: Mapping[str, Any]) -> str:
        """Its value as the command line takes it; the default where it is missing."""
        value = value_of(values, self.path)
        missing = value is None and isinstance(self.kind, FieldInfo)
        return as_text(self.kind.default if missing and not self.kind.is_required() else value)


def options(kind: Any, prefix: str = "", text: str = "") -> Iterator[Option]:
    """All options of a section."""
    for name, below in (children(kind) or {}).items():
        path = prefix + ("NAME" if name == "*" else name)
        about = (below.description if isinstance(below, FieldInfo) else None) or text
        if children(below) is None:
            yield Option(path, below, about)
        else:
            yield from options(below, f"{path}.", about)


def value_of(config: Mapping[str, Any], path: str) -> Any:
    """The value at a dotted path, None if there is none."""
    found: Any = config
    for name in path.split("."):
        found = found.get(name) if isinstance(found, Mapping) else None
    return found


def as_text(value: Any) -> str:
    """A value as the command line takes it, and as people write it."""
    if isinstance(value, float) and len(repr(value)) > 8 and (255 * value).is_integer():
        return f"{255 * value:.0f}/255"
    return value if isinstance(value, str) else json.dumps(value)


def choices(document: str, group: str) -> list[str]:
    """The files of a group, of which one is chosen."""
    return sorted({f.stem for root in roots(document) for f in (root / group).glob("*.yaml")})


def help_of(stage: str, config: DictConfig) -> str:
    """What `rewire DOCUMENT STAGE --help` shows: the options that the stage takes."""
    document = document_of(stage)
    values = cast(dict[str, Any], OmegaConf.to_container(config, resolve=True))
    schema = children(schema_of(document.name, values)) or {}
    groups = (*document.stages[stage].groups, *ALWAYS)
    groups += ("network",) if document.stages[stage].foreign else ()
    taken = [name for name in schema if name in groups]
    lines = [f"rewire {document.name} {document.short(stage)} [option=value ...]", ""]
    lines += [*wrapped(HOW), ""]
    experiments = choices(document.name, "experiment")
    lines += entry("experiment", "null", f"a named combination: {', '.join(experiments)}", "")
    for name in sorted(taken, key=lambda name: children(schema[name]) is not None):
        one = list(options(section("One", {name: schema[name]})))
        if children(schema[name]) is None:
            lines += described(one[0], values)
            continue
        files = choices(document.name, name)
        lines += ["", f"{name}={'|'.join(files)}" if len(files) > 1 else name]
        for option in one:
            if "NAME" not in option.path and not option.path.endswith((".name", ".note")):
                lines += described(option, values)
    lines += ["", "Sweeps, with -m (docs/clusters.md)"]
    lines += [line for path, default, text in launcher() for line in entry(path, default, text, "")]
    return "\n".join(lines)


def described(option: Option, values: Mapping[str, Any]) -> list[str]:
    """The lines of one option."""
    return entry(option.path, option.of(values), option.help, words(option.kind))


def wrapped(text: str, indent: str = "") -> list[str]:
    """Lines as wide as the terminal, within limits; a hyphen in a value is no place to break."""
    width = max(NARROWEST, min(WIDEST, shutil.get_terminal_size((WIDEST, 0)).columns))
    return textwrap.wrap(
        text, width, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False
    )


def entry(path: str, value: str, text: str, allowed: str) -> list[str]:
    """`path=value` and beside it what it means, in lines that fit."""
    left = f"  {path}={value}"
    said = f"{text} ({allowed})" if allowed else text
    indent = " " * (LONGEST + 2)
    beside = wrapped(said, indent)
    if len(left) <= LONGEST:
        beside[0] = left.ljust(LONGEST + 2) + beside[0].lstrip()
        return beside
    return [left, *beside]


def launcher() -> Iterator[tuple[str, str, str]]:
    """(path, default, sentence) of the options of sweeps."""
    for prefix, kind in (("", IsolatedConfig()), ("cluster.", IsolatedConfig().cluster)):
        for field in dataclasses.fields(kind):
            if text := field.metadata.get("help"):
                default = getattr(kind, field.name)
                yield f"hydra.launcher.{prefix}{field.name}", as_text(default), text


def page() -> str:
    """The text of docs/options.md."""
    return HEAD + "".join(line for document in DOCUMENTS for line in chapter(document))


def chapter(document: Document) -> Iterator[str]:
    """The options of one document: those of all, then group by group."""
    yield f"\n## rewire {document.name}\n"
    root = yaml.safe_load((CONF / document.name / "config.yaml").read_text(encoding="utf-8"))
    schema = children(schema_of(document.name)) or {}
    plain = {name: kind for name, kind in schema.items() if children(kind) is None}
    yield from table(options(section("Plain", plain)), root)
    for group in (name for name in schema if name not in plain):
        yield f"\n### {group}: {', '.join(choices(document.name, group))}\n"
        values = standard(document.name, group, root["defaults"]) | declared(group)
        found = options(section("Group", {group: schema[group]}))
        yield from table(found, {group: values})


def standard(document: str, group: str, defaults: list[Any]) -> dict[str, Any]:
    """The values of a group's file that is taken if nobody says another."""
    chosen = [entry[group] for entry in defaults if isinstance(entry, dict) and group in entry]
    for path in (root / group / f"{name}.yaml" for root in roots(document) for name in chosen):
        if path.is_file():
            return yaml.safe_load(path.read_text(encoding="utf-8"))
    return {}


def declared(group: str) -> dict[str, Any]:
    """Option → default, of those that the entries of a registry declare."""
    registry = OPEN.get(group)
    if registry is None or group == DATA:
        return {}
    return {o: what.default for name in registry for o, what in registry.options(name).items()}


def table(rows: Iterable[Option], values: Mapping[str, Any]) -> Iterator[str]:
    """A Markdown table of options, with their defaults."""
    yield "\n| option | default | allowed | meaning |\n|---|---|---|---|\n"
    for row in rows:
        text = row.of(values)
        text = text if len(text) <= LONGEST else "…"
        cells = [f"`{row.path}`", f"`{text}`", words(row.kind), row.help]
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n"


def json_schema(document: str) -> str:
    """The JSON schema of a document's configuration, for editors."""
    return json.dumps(for_editors(schema_of(document).model_json_schema()), indent=1) + "\n"


def for_editors(node: Any) -> Any:
    """A JSON schema that knows 8/255 and ${...} beside every value."""
    if isinstance(node, list):
        return [for_editors(part) for part in node]
    if not isinstance(node, dict):
        return node
    node = {key: for_editors(part) for key, part in node.items() if key != "required"}
    if node.get("type") in ("number", "integer", "array", "boolean") or "enum" in node:
        number = [FRACTION] if node.get("type") == "number" else []
        return {"anyOf": [node, *number, INTERPOLATED]}
    return node


def main(arguments: list[str] | None = None) -> int:
    """Write the reference and the schemas; exit code 0."""
    parser = argparse.ArgumentParser(prog="rewire options", description=__doc__)
    parser.add_argument("--root", type=Path, default=Path(), help=f"folder of {PAGE.parent}")
    root = parser.parse_args(arguments).root
    write_text(root / PAGE, page())
    for document in DOCUMENTS:
        (root / SCHEMAS).mkdir(exist_ok=True, parents=True)
        write_text(root / SCHEMAS / f"{document.name}.json", json_schema(document.name))
    print(f"wrote {root / PAGE} and {root / SCHEMAS}/*.json")
    return 0
