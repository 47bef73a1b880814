"""Liveness, readiness and the description of the API."""

from api_world import NOBODY, World
from test_tenancy import MATRIX

from quartermaster import __version__


def test_readiness_gives_its_reasons_and_liveness_does_not_care(world: World) -> None:
    with world.client() as client:
        ready = client.get("/readyz")
        world.reasons.append("the ingester is being restarted")
        unready = client.get("/readyz")
        alive = client.get("/healthz")
    assert (ready.status_code, ready.json()) == (200, {"status": "ready"})
    assert unready.status_code == 503
    assert unready.json() == {"status": "not ready", "reasons": ["the ingester is being restarted"]}
    assert alive.status_code == 200


def test_every_route_of_the_api_is_described_with_its_errors(world: World) -> None:
    with world.client() as client:
        schema = client.get("/schema").json()
    assert schema["openapi"].startswith("3.1")
    described = {f"{method.upper()} {path}" for path, item in schema["paths"].items() for method in item}
    undescribed = {"GET /", "GET /login", "GET /schema", "GET /static/{version}/{name:path}"}
    assert described == {route.replace(":str", "") for route in MATRIX} - undescribed
    for path, item in schema["paths"].items():
        for method, operation in item.items():
            assert operation["description"], (method, path)
            if path.startswith("/api/v1/"):
                problems = {status for status in operation["responses"] if status >= "400"}
                assert "401" in problems, (method, path)
                for status in problems - {"503"}:
                    assert "application/problem+json" in operation["responses"][status]["content"]
    replay = schema["paths"]["/api/v1/eval/replay"]["post"]
    assert replay["requestBody"]["content"]["application/json"]["schema"]["required"] == ["mission_id"]
    assert {"400", "401", "403", "404", "409", "413", "415", "503"} <= set(replay["responses"])


def test_the_description_names_nothing_of_other_servers(world: World) -> None:
    with world.client() as client:
        answer = client.get("/schema")
        assert answer.headers["content-type"].startswith("application/vnd.oai.openapi+json")
        assert b"http" not in answer.content.replace(b'"type":"http"', b"")
        for page in ("/schema/swagger", "/schema/redoc", "/described", "/described/openapi.json"):
            assert client.get(page).status_code == 404


def test_nobody_learns_the_version_without_a_token(world: World) -> None:
    with world.client(NOBODY) as client:
        answers = [client.get(path) for path in ("/", "/healthz", "/readyz", "/schema", "/metrics", "/login")]
    for answer in answers:
        assert __version__ not in answer.text, answer.url
        assert __version__ not in str(answer.headers), answer.url
