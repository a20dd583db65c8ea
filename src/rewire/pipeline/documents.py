"""All documents of the project: every package `rewire.NAME` with a module `document`."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path

from rewire.errors import unknown_name
from rewire.pipeline.document import Document

PACKAGE = Path(__file__).resolve().parents[1]


def discovered() -> Iterator[Document]:
    """The documents, by the one `Document` that their module `document` holds."""
    for path in PACKAGE.glob("*/document.py"):
        if path.parent.name != "pipeline":
            module = importlib.import_module(f"rewire.{path.parent.name}.document")
            yield from (value for value in vars(module).values() if isinstance(value, Document))


DOCUMENTS = tuple(sorted(discovered(), key=lambda document: document.place))


def document_of(stage: str) -> Document:
    """The document whose stage this is."""
    (document,) = (document for document in DOCUMENTS if stage in document.stages)
    return document


def module_of(stage: str) -> str:
    """The dotted name of the module with the `run` of a stage."""
    return document_of(stage).module(stage)


def stage_of(document: str, name: str) -> str:
    """The stage that the command line calls `name` of `document`.

    Raises:
        InputError: for a document or a stage that does not exist, with the nearest one.
    """
    documents = {found.name: found for found in DOCUMENTS}
    if document not in documents:
        raise unknown_name("document", document, documents)
    stages = {documents[document].short(stage): stage for stage in documents[document].stages}
    if name not in stages:
        raise unknown_name(f"stage of the {document}", name, stages)
    return stages[name]
