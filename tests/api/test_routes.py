"""The table of routes: each says who may come, and what its endpoint is given."""

from inspect import Parameter, signature
from typing import Any, cast

import pytest
from starlette import routing
from starlette.requests import Request
from starlette.responses import Response

from ppacer.api.access import PERMISSIONS, Permission
from ppacer.api.door import Door
from ppacer.api.executors import executor_routes
from ppacer.api.openapi import openapi_route
from ppacer.api.route import Route
from ppacer.api.routes import routes
from ppacer.api.server import make_app
from ppacer.choices import Role
from ppacer.ui.pages import site
from ppacer.ui.static import KINDS

NO_DOOR = cast(Door, None)  # nothing is asked of it until a request comes
EVERY = [openapi_route([]), *executor_routes(NO_DOOR), *routes(NO_DOOR), *site(NO_DOOR).routes]
PUBLIC_PATHS = {"/healthz", "/login", "/logout", *(f"/static/{name}" for name in KINDS)}


def nothing(request: Request) -> Response:
    """An endpoint."""
    return Response()


@pytest.mark.parametrize("route", EVERY, ids=lambda route: f"{route.method} {route.path}")
def test_every_route_needs_a_permission(route: Route) -> None:
    assert isinstance(route.permission, Permission)
    assert (route.permission is Permission.PUBLIC) == (route.path in PUBLIC_PATHS)
    if route.method != "GET":
        assert route.permission is not Permission.VIEW


@pytest.mark.parametrize("route", EVERY, ids=lambda route: f"{route.method} {route.path}")
def test_what_is_declared_is_what_the_endpoint_takes(route: Route) -> None:
    declared = {one.name for one in (*route.in_path, *route.query)} | ({"body"} if route.body else set())
    taken = signature(route.does).parameters
    named = {name for name, one in taken.items() if one.kind is Parameter.POSITIONAL_OR_KEYWORD}
    is_open = any(one.kind is Parameter.VAR_KEYWORD for one in taken.values())
    assert named - {"request"} <= declared if is_open else named == declared | {"request"}
    assert route.does.__doc__


def test_a_route_without_a_permission_cannot_be_made() -> None:
    with pytest.raises(TypeError):
        Route("GET", "/x", nothing)  # type: ignore[call-arg]  # on purpose
    for wrong in (None, "", "view", Role.VIEWER):
        with pytest.raises(TypeError, match="/x needs a Permission"):
            Route("GET", "/x", nothing, cast(Any, wrong))


def test_a_foreign_route_cannot_be_registered() -> None:
    foreign = routing.Route("/x", nothing)
    with pytest.raises(TypeError, match="nobody may be let in"):
        make_app(NO_DOOR, (), cast(Any, [foreign]))


def test_no_two_routes_are_for_the_same_requests() -> None:
    keys = [(route.method, route.path) for route in EVERY]
    assert len(keys) == len(set(keys))


def test_each_role_may_what_its_name_says() -> None:
    may = {role: {str(one) for one in PERMISSIONS[role]} - {"public"} for role in Role}
    assert may[Role.VIEWER] == {"view"}
    assert may[Role.OPERATOR] == {"view", "command"}
    assert may[Role.ADMIN] == {"view", "command", "admin", "execute"}
    assert may[Role.EXECUTOR] == {"execute"}
