"""What the API tells of the installation and of what is set: to whom, and how much."""

from api_world import ADMIN, FOREIGN_OWNER, VIEWER, World

from quartermaster.checkup import Finding
from quartermaster.store.retention import Policy, set_policy

HOME = Finding("home", "ok", "/home/ann/quartermaster")
OWN = Finding("inbox", "fail", "/srv/crew cannot be read", "crew")
FOREIGN = Finding("inbox", "ok", "/srv/foreign goes to workspace foreign", "foreign")
OFFER = Finding("recordings", "ok", "~/.x is there", command="quartermaster watch add ~/.x")


def checkup() -> list[Finding]:
    return [HOME, OWN, FOREIGN, OFFER]


def test_findings_of_other_workspaces_are_not_told(world: World) -> None:
    with world.http(ADMIN, checkup=checkup) as client:
        told = client.get("/api/v1/doctor").json()
        assert [row["message"] for row in told["rows"]] == [HOME.message, OWN.message, OFFER.message]
        others = {"X-Workspace-ID": "foreign", "Authorization": f"Bearer {world.tokens[FOREIGN_OWNER]}"}
        foreign = client.get("/api/v1/doctor", headers=others).json()
        assert OWN.message not in [row["message"] for row in foreign["rows"]]


def test_a_command_that_is_offered_names_the_workspace_that_asked(world: World) -> None:
    with world.http(ADMIN, checkup=checkup) as client:
        offer = client.get("/api/v1/doctor").json()["rows"][-1]
    assert offer["command"] == "quartermaster watch add ~/.x --workspace crew"


def test_folders_of_the_machine_are_told_on_the_machine_alone(world: World) -> None:
    with world.http(ADMIN, checkup=checkup) as client:
        assert client.get("/api/v1/doctor").json()["here"] is True
        elsewhere = client.get("/api/v1/doctor", headers={"X-Forwarded-For": "192.0.2.7"}).json()
    assert elsewhere["here"] is False
    assert [(row["check"], row["state"]) for row in elsewhere["rows"]] == [
        ("home", "ok"),
        ("inbox", "fail"),
        ("recordings", "ok"),
    ]
    assert {(row["message"], row["command"]) for row in elsewhere["rows"]} == {(None, None)}


def test_everybody_of_a_workspace_may_know_its_thresholds_and_what_it_keeps(world: World) -> None:
    with world.client(VIEWER, retention=Policy(days=90)) as client:
        told = client.get("/api/v1/settings").json()
        assert told["thresholds"]["tool_success_rate"] == 0.05
        assert told["retention"] == {"days": 90, "missions": None, "size": None, "kept_types": []}
        own = Policy(missions=7, kept_types=("note",))
        world.database.write_blocking(lambda c: set_policy(c, world.crew, own))
        assert client.get("/api/v1/settings").json()["retention"]["missions"] == 7
