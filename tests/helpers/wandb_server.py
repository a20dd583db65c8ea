"""A stand-in of W&B's server on loopback that takes notes: what views arrive, and from whom."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

ENTITY = "somebody"


class Notes:
    """What the client asked for.

    Attributes:
        operations: names of the GraphQL operations, in order.
        views: variables of every `upsertView`, in order.
        refuses: an error message for every upsert; none if it is taken.
    """

    def __init__(self) -> None:
        self.operations: list[str] = []
        self.views: list[dict[str, Any]] = []
        self.refuses: str | None = None

    def answer(self, query: str, variables: dict[str, Any]) -> dict[str, Any]:
        operation = re.search(r"(?:query|mutation)\s+(\w+)", query)[1]
        self.operations.append(operation)
        if operation.lower().startswith("upsertview"):
            return self.upserted(variables)
        if operation == "ProjectInternalId":
            return {"data": {"project": {"id": "p", "internalId": "UHJvamVjdDox"}}}
        if "projects" in query or "models" in query:
            return {"data": {"models": page(), "projects": page()}}
        viewer = {
            "id": "1", "entity": ENTITY, "username": ENTITY, "name": ENTITY, "email": "a@b",
            "admin": False, "flags": "{}", "teams": {"edges": []}, "apiKeys": {"edges": []},
        }  # fmt: skip
        return {"data": {"viewer": viewer, "createProject": None, "upsertModel": {}}}

    def upserted(self, variables: dict[str, Any]) -> dict[str, Any]:
        if self.refuses:
            return {"errors": [{"message": self.refuses}], "data": {"upsertView": None}}
        self.views.append(variables)
        project = {"id": "p", "name": variables["projectName"], "entityName": ENTITY}
        view = {
            "id": variables.get("id") or f"view{len(self.views)}",
            "project": project,
            "updatedAt": "2026-01-01T00:00:00Z",
            **{key: variables[key] for key in ("name", "type", "displayName", "description")},
            "spec": variables["spec"],
        }
        return {"data": {"upsertView": {"view": view, "inserted": not variables.get("id")}}}


def page() -> dict[str, Any]:
    """A page of results without any."""
    return {"edges": [], "pageInfo": {"endCursor": None, "hasNextPage": False}}


@contextmanager
def serving() -> Iterator[tuple[str, Notes]]:
    """(address, what arrives there) inside the block."""
    notes = Notes()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            said = json.dumps(notes.answer(asked["query"], asked.get("variables") or {})).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(said)))
            self.end_headers()
            self.wfile.write(said)

        def log_message(self, *_: Any) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", notes
    finally:
        server.shutdown()
        server.server_close()
