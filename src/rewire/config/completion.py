"""`rewire complete WORD ...`: what the last word may become, for shells."""

from __future__ import annotations

from collections.abc import Iterable

from rewire.config.reference import choices, options
from rewire.options import unwrapped, words
from rewire.pipeline.documents import DOCUMENTS
from rewire.pipeline.schema import schema_of


def completions(typed: list[str], commands: Iterable[str] = ()) -> list[str]:
    """All that the last of the words behind `rewire` may become, in alphabetical order."""
    *before, last = typed or [""]
    documents = {document.name: document for document in DOCUMENTS}
    if not before:
        return matching(last, [*commands, *documents])
    document = documents.get(before[0])
    if document is None:
        return []
    if len(before) == 1:
        return matching(last, map(document.short, document.stages))
    schema = schema_of(document.name)
    known = {option.path: option.kind for option in options(schema) if "NAME" not in option.path}
    groups = {
        group: choices(document.name, group) for group in (*schema.model_fields, "experiment")
    }
    name, equal, value = last.partition("=")
    if not equal:
        chosen = [group for group, files in groups.items() if files]
        return matching(last, [f"{name}=" for name in (*chosen, *known)])
    *listed, value = value.split(",")
    values = groups.get(name) or []
    if name in known and "Literal" in str(unwrapped(known[name])[0]):
        values = words(known[name]).split(", ")
    return [f"{name}={','.join([*listed, one])}" for one in matching(value, values)]


def matching(start: str, names: Iterable[str]) -> list[str]:
    """Those names that begin so."""
    return sorted({name for name in names if name.startswith(start)})
