"""The OpenAPI 3.1 document, made of the table of operations, the structs and the list of problems.

Guards: nothing about the API is written down twice. What this document says of an operation is what the
router, the access check and the decoder do with it.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from pyledger.server import schemas
from pyledger.server.operations import OPERATIONS, Operation, Shape
from pyledger.server.problems import PROBLEMS, RETRY_AFTER_S, Problem
from pyledger.server.replies import PROBLEM_TYPE
from pyledger.server.turns import AFTER, NAME, NAME_PATTERN

REF: Final = "#/components/schemas/{name}"
NO_BODY_STATUSES: Final = {
    431: "The head of the request is larger than `header_bytes_max` or has more than 100 headers."
}
"""Answered by the HTTP parser below us, without a body."""

IDS: Final[dict[str, Any]] = {"ledgers": schemas.LedgerNumber, "checkpoints": schemas.Size}
"""What stands for {id} below a noun, where it is no UUID."""

ABOUT: Final = """\
A double-entry ledger over HTTP. Amounts are whole numbers of minor units, as strings; times are RFC 3339 \
with nanoseconds. Every answer to a write speaks of what is committed in PostgreSQL.

**Access.** `Authorization: Bearer pk_...`, a key made by `pyledger key create`. A key belongs to one tenant \
and sees only its ledgers, accounts and transfers; those of another do not exist for it (404). A server \
started with `--dev`, on loopback only, takes no key and serves the tenant `dev`.

**Once.** Every write has an id, given in the body or derived from `Idempotency-Key`. Its first outcome, \
accepted or declined, is what each retry gets, word for word.

**Errors** are problem details (RFC 9457) with a stable `code`. 400: malformed. 404: does not exist. 422: \
declined by the books and recorded, or the same id with another body. 503 with `Retry-After`: try again with \
the same id. The HTTP parser itself answers 400 and 431 without a body to what is not HTTP.

**HTTP/1.1** with keep-alive; a connection that is idle for `header_timeout_ms` is closed.\
"""


def build(version: str) -> dict[str, Any]:
    """The document."""
    shapes = [*_structs(), schemas.ProblemDetails]
    _, components = msgspec.json.schema_components(shapes, ref_template=REF)
    paths: dict[str, dict[str, Any]] = {}
    for operation in OPERATIONS:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _operation(operation)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "pyledger",
            "version": version,
            "description": ABOUT,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/", "description": "This server"}],
        "tags": [{"name": tag} for tag in dict.fromkeys(operation.tag for operation in OPERATIONS)],
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {
                "key": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "A key made by `pyledger key create`: `pk_` and 43 characters.",
                }
            },
        },
        "x-problems": [_problem(problem) for problem in PROBLEMS.values()],
    }


def _structs() -> list[type[msgspec.Struct]]:
    found: dict[type[msgspec.Struct], None] = {}
    for operation in OPERATIONS:
        for shape in (*operation.takes.values(), *operation.gives.values()):
            if not isinstance(shape, str):
                found[shape] = None
    # Named by references inside hand-written schemas, so nothing else would bring them in.
    for shape in (schemas.Transfer, schemas.Account, schemas.DeclinedAccount, schemas.RefusedResult):
        found[shape] = None
    return list(found)


def _operation(operation: Operation) -> dict[str, Any]:
    document: dict[str, Any] = {
        "operationId": operation.name,
        "tags": [operation.tag],
        "summary": operation.summary,
        "description": _description(operation),
        "parameters": _parameters(operation),
        "responses": _responses(operation),
        "security": [] if operation.scope is None else [{"key": []}],
    }
    if operation.scope is not None:
        document["x-scopes"] = [str(operation.scope)]
    if operation.takes:
        document["requestBody"] = {
            "required": not operation.body_optional,
            "content": {media_type: _content(shape) for media_type, shape in operation.takes.items()},
        }
        document["x-body-limit"] = operation.limit
        document["x-idempotency"] = operation.idempotency
        document["x-journal"] = operation.journal
    return document


def _description(operation: Operation) -> str:
    parts = [operation.notes] if operation.notes else []
    if operation.scope is None:
        parts.append("**Access.** None needed.")
    else:
        parts.append(f"**Access.** Bearer key with the scope `{operation.scope}`.")
    if operation.takes:
        parts.append(f"**Idempotency.** {operation.idempotency}")
        parts.append(f"**Journal.** {operation.journal}")
        parts.append(f"**Limit.** The body has at most `{operation.limit}` bytes, a setting of the server.")
    return "\n\n".join(parts)


def _parameters(operation: Operation) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    if "{id}" in operation.path:
        kind = IDS.get(operation.path.split("/")[2], schemas.Uuid)
        found.append({"name": "id", "in": "path", "required": True, "schema": msgspec.json.schema(kind)})
    if operation.key_header:
        found.append(
            {
                "name": "Idempotency-Key",
                "in": "header",
                "required": False,
                "description": "Instead of `id` in the body.",
                "schema": {"type": "string", "pattern": "^[!-~]{1,255}$"},
            }
        )
    if "out_of_turn" in operation.problems:
        found += [_name_header(NAME, _NAMES), _name_header(AFTER, _FOLLOWS)]
    if operation.query is not None:
        for field in msgspec.structs.fields(operation.query):
            schema = msgspec.json.schema(field.type)
            found.append({"name": field.name, "in": "query", "required": field.required, "schema": _not_null(schema)})
    return found


def _name_header(header: str, description: str) -> dict[str, Any]:
    schema = {"type": "string", "pattern": NAME_PATTERN}
    return {"name": header.title(), "in": "header", "required": False, "description": description, "schema": schema}


def _not_null(schema: dict[str, Any]) -> dict[str, Any]:
    """A parameter that is not given is absent, never null."""
    if "anyOf" not in schema:
        return schema
    rest = [each for each in schema["anyOf"] if each != {"type": "null"}]
    return {**{name: value for name, value in schema.items() if name != "anyOf"}, **rest[0]}


def _responses(operation: Operation) -> dict[str, Any]:
    success: dict[str, Any] = {
        "description": "Recorded" if operation.status == 201 else "OK",
        "content": {media_type: _content(shape) for media_type, shape in operation.gives.items()},
    }
    if operation.takes:
        success["headers"] = {"Idempotent-Replayed": _REPLAYED}
    if "out_of_turn" in operation.problems:
        success["headers"]["Batch-Name"] = {"description": "As it was sent.", "schema": {"type": "string"}}
    responses: dict[str, Any] = {str(operation.status): success}
    if operation.name == "readyz":
        responses["503"] = {"description": "Not ready", "content": success["content"]}
    by_status: dict[int, list[str]] = {}
    for code in _codes(operation):
        by_status.setdefault(PROBLEMS[code].status, []).append(code)
    for status in sorted(by_status):
        responses[str(status)] = _problem_response(status, by_status[status], replays=bool(operation.takes))
    for status, text in NO_BODY_STATUSES.items():
        responses[str(status)] = {"description": text}
    return responses


def _codes(operation: Operation) -> list[str]:
    codes: dict[str, None] = {}
    if operation.scope is not None:
        codes |= dict.fromkeys(("key_missing", "key_invalid", "scope_missing"))
    for name in (*operation.problems, "connections_full", "internal_error", "parameter_unknown"):
        if name.startswith("<"):
            codes |= dict.fromkeys(code for code, each in PROBLEMS.items() if each.kind == name.strip("<>"))
        else:
            codes[name] = None
    return list(codes)


def _problem_response(status: int, codes: list[str], *, replays: bool) -> dict[str, Any]:
    response: dict[str, Any] = {
        "description": "; ".join(f"`{code}`" for code in codes),
        "content": {
            PROBLEM_TYPE: {
                "schema": {
                    "allOf": [
                        {"$ref": REF.format(name="ProblemDetails")},
                        {"properties": {"status": {"const": status}, "code": {"enum": codes}}},
                    ]
                }
            }
        },
    }
    if status == 503:
        schema = {"type": "integer", "examples": [RETRY_AFTER_S]}
        response["headers"] = {"Retry-After": {"description": "Seconds.", "schema": schema}}
    if status == 422 and replays:
        response["headers"] = {"Idempotent-Replayed": _REPLAYED}
    return response


def _content(shape: Shape) -> dict[str, Any]:
    if isinstance(shape, str):
        return {"schema": {"description": shape}}
    return {"schema": {"$ref": REF.format(name=shape.__name__)}}


def _problem(problem: Problem) -> dict[str, Any]:
    return {
        "code": problem.code,
        "status": problem.status,
        "kind": problem.kind,
        "title": problem.title,
        "detail": problem.detail,
        "recorded": problem.kind == "declined",
    }


_NAMES: Final = "A name for this batch, which another one can follow: one of its own for each. The answer repeats it."
_FOLLOWS: Final = (
    "The name of a batch that was sent before and is not answered yet: this one is decided after it, or refused with "
    "409 `out_of_turn` if that one was refused or is not on its way. So batches that follow each other can be on their "
    "way at once. When it is refused, wait for the answer to the one before it, and send it without this header. Names "
    "are not kept when the server ends."
)
_REPLAYED: Final = {
    "description": "`true` if the outcome was decided earlier.",
    "schema": {"type": "string", "enum": ["true"]},
}


def encode(version: str) -> bytes:
    """The document as it is served."""
    return msgspec.json.encode(build(version))
