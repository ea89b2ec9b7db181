"""The OpenAPI document, made of the table of routes: what is not declared there is not in it."""

from collections.abc import Iterable, Sequence
from inspect import getdoc
from typing import Any

import msgspec
from starlette.requests import Request

from ppacer.api.access import PERMISSIONS, Permission
from ppacer.api.parameters import Parameter
from ppacer.api.problems import CODES
from ppacer.api.route import Route
from ppacer.api.wire import Problem
from ppacer.choices import Role
from ppacer.version import VERSION

PATH = "/api/openapi.json"
Json = dict[str, Any]

ALWAYS = ("bad_host", "bad_request", "unknown_host", "unavailable", "no_answer", "database_unavailable")
SHOWN = ("unauthorized", "forbidden")
CHANGING = ("cross_origin", "request_timeout", "body_too_large", "not_possible", "key_reused")

_KEY: Json = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "The same command with the same key again is answered as before, and does nothing more.",
    "schema": {"type": "string", "pattern": "^[!-~]{1,200}$"},
}


def openapi_route(routes: Sequence[Route]) -> Route:
    """The route of the document about these routes; it is made when it is first asked for."""
    made: list[Json] = []

    def openapi(request: Request) -> Json:
        """This document."""
        if not made:
            made.append(document(every))
        return made[0]

    every = [route for route in routes if route.answer is not None]
    every.append(Route("GET", PATH, openapi, Permission.VIEW, answer=dict[str, Any]))
    return every[-1]


def document(routes: Iterable[Route]) -> Json:
    """What these routes take and answer."""
    routes = list(routes)
    types = [Problem, *(kind for route in routes for kind in (route.body, route.answer) if kind is not None)]
    schemas, components = msgspec.json.schema_components(types, ref_template="#/components/schemas/{name}")
    of = dict(zip(map(repr, types), schemas, strict=True))
    paths: dict[str, Json] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, of)
    return {
        "openapi": "3.1.0",
        "info": {"title": "ppacer", "version": VERSION},
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def _operation(route: Route, of: dict[str, Json]) -> Json:
    parameters = [_parameter(one, "path") for one in route.in_path]
    parameters += [_parameter(one, "query") for one in route.query]
    roles = [role for role in Role if route.permission in PERMISSIONS[role]]
    operation: Json = {
        "operationId": route.name,
        "summary": (getdoc(route.does) or "").splitlines()[0],
        "parameters": parameters,
        "responses": _responses(route, of),
    }
    if route.permission is not Permission.PUBLIC:
        operation["description"] = f"Needs the role {' or '.join(roles)}."
        operation["security"] = [{"token": []}, {}]
    if _is_command(route):
        parameters.append(_KEY)
    if route.body is not None:
        operation["requestBody"] = {"content": {"application/json": {"schema": of[repr(route.body)]}}}
    return operation


def _is_command(route: Route) -> bool:
    return route.method != "GET" and route.permission in (Permission.COMMAND, Permission.ADMIN)


def _parameter(one: Parameter, place: str) -> Json:
    schema = {"type": "array", "items": one.schema} if one.repeated else one.schema
    required = {"required": True} if place == "path" or one.required else {}
    return {"name": one.name, "in": place, "description": one.about, "schema": schema, **required}


def _responses(route: Route, of: dict[str, Json]) -> Json:
    """The answer, and the problems by their status with what each code means."""
    answers = {str(route.status): _answer("The answer.", "application/json", of[repr(route.answer)])}
    if route.path == "/healthz":
        answers["503"] = _answer("It does not work.", "application/json", of[repr(route.answer)])
    for status in sorted({CODES[code][0] for code in codes_of(route)}):
        codes = [code for code in codes_of(route) if CODES[code][0] == status]
        meaning = "; ".join(f"`{code}`: {CODES[code][1]}" for code in codes)
        answers.setdefault(str(status), _answer(meaning, "application/problem+json", of[repr(Problem)]))
    return answers


def codes_of(route: Route) -> list[str]:
    """Every code with which a request for this route may be answered, but that of a bug."""
    codes = [*ALWAYS, *route.problems]
    codes += () if route.permission is Permission.PUBLIC else SHOWN
    codes += CHANGING if route.method != "GET" else ()
    return list(dict.fromkeys(codes))


def _answer(about: str, kind: str, schema: Json) -> Json:
    return {"description": about, "content": {kind: {"schema": schema}}}
