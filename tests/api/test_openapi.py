"""The document says what the routes are: it is made of them, and this is what its readers rely on."""

from typing import cast

import pytest

from api.live import Live
from ppacer.api.door import Door
from ppacer.api.executors import executor_routes
from ppacer.api.openapi import codes_of, document
from ppacer.api.problems import CODES
from ppacer.api.route import Route
from ppacer.api.routes import routes

NO_DOOR = cast(Door, None)
DECLARED = [*executor_routes(NO_DOOR), *routes(NO_DOOR)]


def test_it_is_served_and_has_every_route(shared: Live) -> None:
    paths = shared.get("/api/openapi.json").json["paths"]
    assert {(path, method.upper()) for path, methods in paths.items() for method in methods} == {
        *((route.path, route.method) for route in DECLARED),
        ("/api/openapi.json", "GET"),
    }


@pytest.mark.parametrize("route", DECLARED, ids=lambda route: f"{route.method} {route.path}")
def test_each_operation_has_its_parameters_body_answer_and_problems(route: Route) -> None:
    operation = document(DECLARED)["paths"][route.path][route.method.lower()]
    names = {one["name"] for one in operation["parameters"]} - {"Idempotency-Key"}
    assert names == {one.name for one in (*route.in_path, *route.query)}
    assert ("requestBody" in operation) == (route.body is not None)
    assert operation["summary"].endswith(".")
    statuses = {str(CODES[code][0]) for code in codes_of(route)} | {str(route.status)}
    assert statuses <= set(operation["responses"])


def test_every_code_is_documented() -> None:
    from pathlib import Path

    text = (Path(__file__).parents[2] / "docs" / "api.md").read_text("utf-8")
    for code, (status, _) in CODES.items():
        assert f"| `{code}` | {status} |" in text, code


def test_pages_follow_each_other_to_the_end(shared: Live) -> None:
    for _ in range(3):
        shared.run("etl")
    for kind, key, cursor in (("dags", "dag_id", "after"), ("runs", "run_id", "before")):
        seen, query = [], "?limit=2"
        while True:
            page = shared.get(f"/api/v1/{kind}{query}").json
            seen += [one[key] for one in page[kind]]
            if page["next"] is None:
                break
            query = f"?limit=2&{cursor}={page['next']}"
        assert seen == [one[key] for one in shared.get(f"/api/v1/{kind}?limit=1000").json[kind]]
