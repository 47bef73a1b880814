"""Alerts: told once under one id, signed, whatever a receiver does and whenever the daemon is killed."""

import json
import re
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import anyio
import msgspec
import pytest
import trend_world
from running import Daemon

from quartermaster.alerting import webhook
from quartermaster.alerting.happenings import Judging, news, past, standing
from quartermaster.alerting.rules import deliver, new_rule, trigger_of
from quartermaster.cli import execute
from quartermaster.core.alerts import (
    OnChangePoint,
    OnFailureMode,
    OnRegression,
    Trigger,
    Webhook,
    delivery_id,
    message,
)
from quartermaster.core.comparison import Profile
from quartermaster.core.pricing import OwnPrices
from quartermaster.errors import UsageError
from quartermaster.examiner import Examiner
from quartermaster.store import access, alerts, journal
from quartermaster.store.alerts import Composed, DeliveryFilter, Rule
from quartermaster.store.database import Database

README = (Path(__file__).resolve().parents[1] / "README.md").read_text()
BASELINE, CANDIDATE = "demo-login-fix-baseline", "demo-login-fix-candidate"
QUICK = {"QUARTERMASTER_ALERT_PAUSE_SECONDS": "0.1", "QUARTERMASTER_ALERT_TIMEOUT_SECONDS": "5"}
JUDGING = Judging(Profile(), OwnPrices())


class Receiver:
    """A real HTTP server that answers as it is told, then 204, and remembers what came."""

    def __init__(self, *statuses: int, headers: dict[str, str] | None = None) -> None:
        self.requests: list[tuple[dict[str, str], bytes, str]] = []
        answers = list(statuses)
        received = self.requests

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                told = {name.lower(): value for name, value in self.headers.items()}
                received.append((told, body, self.path))
                self.send_response(answers.pop(0) if answers else 204)
                for name, value in (headers or {}).items():
                    self.send_header(name, value)
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/hook/path-that-is-secret"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()

    def messages(self) -> list[dict[str, Any]]:
        return [json.loads(body) for _, body, _ in self.requests]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with closing(Receiver()) as opened:
        yield opened


def check_of_the_readme() -> Any:
    """The function that the README gives to receivers, as it stands there."""
    (code,) = re.findall(r"```python\n(import base64, hashlib.*?)\n```", README, re.DOTALL)
    names: dict[str, Any] = {}
    exec(code, names)
    return names["is_from_quartermaster"]


def add_rule(quartermaster: Any, *arguments: object) -> str:
    """What the command printed: the secret, where there is one."""
    added = quartermaster("alert", "add", "worse", *arguments)
    assert added.returncode == 0, added.stderr
    return str(added.stdout.strip())


def rows(quartermaster: Any, *command: object) -> list[dict[str, Any]]:
    printed = quartermaster("alert", *command, "--format", "json")
    assert printed.returncode == 0, printed.stderr
    found: list[dict[str, Any]] = json.loads(printed.stdout)
    return found


def regress(daemon: Daemon, samples: Path) -> None:
    """A regression, judged by the daemon."""
    lines = (samples / "native" / "login_fix.ndjson").read_bytes()
    sent = daemon.request("POST", "/api/v1/journal", lines, {"Content-Type": "application/x-ndjson"})
    assert sent.status == 200, sent.json
    asked = {"baseline_mission_id": BASELINE, "candidate_mission_id": CANDIDATE}
    queued = daemon.request("POST", "/api/v1/eval/regression", asked)
    assert daemon.wait_for_run(queued.json["run_id"])["regressed"]


def regress_alone(quartermaster: Any, samples: Path) -> None:
    """The same in processes of their own, while no daemon runs."""
    quartermaster("ingest", samples / "native" / "login_fix.ndjson")
    assert quartermaster("eval", "regression", BASELINE, CANDIDATE, "--wait").returncode == 1


def test_a_receiver_that_fails_twice_gets_the_same_signed_message_a_third_time(
    start_daemon, quartermaster, samples: Path
):
    with closing(Receiver(500, 503)) as receiver:
        secret = add_rule(quartermaster, "--on", "regression", "--url", receiver.url)
        daemon = start_daemon(**QUICK)
        regress(daemon, samples)
        daemon.wait_for(lambda: len(receiver.requests) == 3, 30)
        daemon.wait_for(lambda: daemon.get("/api/v1/alerts/deliveries?state=delivered")["count"] == 1)
        (row,) = daemon.get("/api/v1/alerts/deliveries")["rows"]
    assert (row["attempts"], row["said"], row["next_attempt_at"]) == (3, "answered 204", None)
    assert {headers["webhook-id"] for headers, _, _ in receiver.requests} == {row["id"]}
    assert len({body for _, body, _ in receiver.requests}) == 1
    is_genuine = check_of_the_readme()
    for headers, body, _ in receiver.requests:
        assert is_genuine(secret, headers, body)
        assert not is_genuine(secret, headers, body + b" ")
        assert not is_genuine(secret, {**headers, "webhook-id": "msg_another"}, body)
    told = receiver.messages()[0]
    assert (told["id"], told["type"]) == (row["id"], "regression")
    assert told["data"]["verdict"] == "regressed"
    assert told["wording"].startswith("regressed: ")
    assert told["url"] == f"{daemon.url}/#/runs/{told['data']['run_id']}?workspace=local"
    run = daemon.get(f"/api/v1/eval/runs/{told['data']['run_id']}")
    assert run["regressed"]
    assert [one["metric"] for one in told["data"]["metrics"]] == run["report"]["regressed_metrics"]


def test_a_daemon_that_is_killed_between_two_attempts_delivers_under_the_same_id(
    start_daemon, quartermaster, samples: Path
):
    with closing(Receiver(500)) as receiver:
        add_rule(quartermaster, "--on", "regression", "--url", receiver.url)
        daemon = start_daemon(QUARTERMASTER_ALERT_PAUSE_SECONDS="2")
        regress(daemon, samples)
        daemon.wait_for(lambda: daemon.get("/api/v1/alerts/deliveries")["rows"][0:1], 30)
        daemon.wait_for(lambda: daemon.get("/api/v1/alerts/deliveries")["rows"][0]["attempts"] == 1)
        daemon.kill()
        assert [row["state"] for row in rows(quartermaster, "deliveries")] == ["waiting"]
        again = start_daemon(**QUICK)
        again.wait_for(lambda: again.get("/api/v1/alerts/deliveries?state=delivered")["count"] == 1)
        again.stop()
    assert len({headers["webhook-id"] for headers, _, _ in receiver.requests}) == 1
    assert len(receiver.requests) == 2
    assert len(rows(quartermaster, "deliveries")) == 1


def test_what_happened_while_no_daemon_ran_is_told_by_the_next_one_and_once(
    start_daemon, quartermaster, samples: Path, receiver: Receiver
):
    regress_alone(quartermaster, samples)
    add_rule(quartermaster, "--on", "regression", "--url", receiver.url)
    assert quartermaster("eval", "regression", BASELINE, CANDIDATE, "--wait").returncode == 1
    newest = json.loads(quartermaster("eval", "runs", "--limit", "1", "--format", "json").stdout)[0]["id"]
    for _ in range(2):
        daemon = start_daemon(**QUICK)
        daemon.wait_for(lambda: receiver.requests, 20)
        daemon.stop()
    assert [told["data"]["run_id"] for told in receiver.messages()] == [newest]


def test_a_message_is_given_up_after_its_last_attempt_and_stays_to_be_seen(
    start_daemon, quartermaster, samples: Path
):
    with closing(Receiver(*[500] * 9)) as receiver:
        add_rule(quartermaster, "--on", "regression", "--url", receiver.url)
        daemon = start_daemon(**QUICK, QUARTERMASTER_ALERT_ATTEMPTS="2")
        regress(daemon, samples)
        daemon.wait_for(lambda: daemon.get("/api/v1/alerts/deliveries?state=dead")["count"] == 1, 30)
        daemon.stop()
        assert len(receiver.requests) == 2
    (row,) = rows(quartermaster, "deliveries", "--state", "dead")
    assert (row["attempts"], row["said"]) == (2, "answered 500")


def test_what_was_given_up_is_sent_again_on_request_under_the_same_id(
    start_daemon, quartermaster, samples: Path
):
    with closing(Receiver(500)) as receiver:
        add_rule(quartermaster, "--on", "regression", "--url", receiver.url)
        daemon = start_daemon(**QUICK, QUARTERMASTER_ALERT_ATTEMPTS="1")
        rule = daemon.get("/api/v1/alerts/rules")["rows"][0]["id"]
        regress(daemon, samples)
        daemon.wait_for(lambda: daemon.get("/api/v1/alerts/deliveries?state=dead")["count"] == 1, 30)
        again = daemon.request("POST", f"/api/v1/alerts/rules/{rule}/retry", {})
        assert (again.status, again.json) == (202, {"waiting": 1})
        daemon.wait_for(lambda: daemon.get("/api/v1/alerts/deliveries?state=delivered")["count"] == 1, 30)
        assert len({headers["webhook-id"] for headers, _, _ in receiver.requests}) == 1
        assert len(receiver.requests) == 2
        nothing = quartermaster("alert", "retry", rule)
        assert "nothing of it was given up" in nothing.stderr
        noted = daemon.get("/api/v1/journal?entry_type=audit.alert.retried")["entries"]
        assert len(noted) == 2
        daemon.stop()
    assert quartermaster("alert", "retry", "al_none").returncode == 2


def test_a_rule_is_named_by_its_id_or_by_a_name_that_only_it_has(quartermaster):
    quartermaster("workspace", "list")
    for _ in range(2):
        add_rule(quartermaster, "--on", "regression", "--url", "http://127.0.0.1:9/")
    one, other = (row["id"] for row in rows(quartermaster, "list"))
    refused = quartermaster("alert", "remove", "worse")
    assert (refused.returncode, "2 rules are named" in refused.stderr) == (2, True)
    assert quartermaster("alert", "remove", one).returncode == 0
    assert [row["id"] for row in rows(quartermaster, "list")] == [other]
    assert quartermaster("alert", "remove", "worse").returncode == 0
    assert rows(quartermaster, "list") == []


def test_a_command_gets_the_message_on_its_input_and_a_shell_reads_none_of_its_arguments(
    start_daemon, quartermaster, samples: Path, tmp_path: Path
):
    told = tmp_path / "told"
    code = "import sys; open(sys.argv[1], 'a').write(sys.stdin.read() + chr(10) + sys.argv[2])"
    add_rule(quartermaster, "--on", "regression", "--", sys.executable, "-c", code, told, "$(touch x); *")
    daemon = start_daemon(**QUICK)
    regress(daemon, samples)
    daemon.wait_for(lambda: daemon.get("/api/v1/alerts/deliveries?state=delivered")["count"] == 1, 30)
    first, second = told.read_text().split("\n")
    assert json.loads(first)["data"]["verdict"] == "regressed"
    assert second == "$(touch x); *"
    assert [rule["destination"]["kind"] for rule in daemon.get("/api/v1/alerts/rules")["rows"]] == ["command"]


def test_a_command_that_does_not_end_is_ended_with_all_that_it_started(quartermaster, tmp_path: Path):
    """Its grandchild would write the file a second after the time is over."""
    mark = tmp_path / "still there"
    code = f"import subprocess; subprocess.run(['sh', '-c', 'sleep 2; touch \"{mark}\"'])"
    add_rule(quartermaster, "--on", "regression", "--", sys.executable, "-c", code)
    (rule,) = rows(quartermaster, "list")
    tried = quartermaster("alert", "test", rule["id"], QUARTERMASTER_ALERT_TIMEOUT_SECONDS="1")
    assert tried.returncode == 10
    assert "the program was ended after 1 seconds" in tried.stderr
    time.sleep(1.5)
    assert not mark.exists()


def test_a_test_message_says_that_it_is_one_and_tells_how_it_went(quartermaster, receiver: Receiver):
    secret = add_rule(quartermaster, "--on", "failure_mode", "--url", receiver.url)
    (rule,) = rows(quartermaster, "list")
    tried = quartermaster("alert", "test", rule["id"])
    assert (tried.returncode, tried.stderr) == (0, "delivered: answered 204\n")
    ((headers, body, _),) = receiver.requests
    assert check_of_the_readme()(secret, headers, body)
    assert json.loads(body)["type"] == "test"
    assert rows(quartermaster, "deliveries") == []


def test_a_dry_run_prints_what_would_have_been_told_and_sends_nothing(
    quartermaster, samples: Path, receiver: Receiver
):
    regress_alone(quartermaster, samples)
    add_rule(quartermaster, "--on", "regression", "--url", receiver.url)
    add_rule(quartermaster, "--on", "regression", "--grade", "outside-noise", "--url", receiver.url)
    (found,) = rows(quartermaster, "dry-run")
    assert found["wording"].startswith("regressed: ")
    assert rows(quartermaster, "dry-run", "--since", "2199-01-01T00:00:00Z") == []
    assert quartermaster("alert", "dry-run", "--since", "yesterday").returncode == 2
    assert rows(quartermaster, "deliveries") == []
    assert receiver.requests == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--on", "regression"), "--url URL, or a command"),
        (("--on", "regression", "--url", "http://a.example", "--", "cat"), "one of the two"),
        (("--on", "regression", "--", "no-such-program"), "no program that can be started"),
        (("--on", "regression", "--url", "ftp://a.example/"), "begins with https://"),
        (("--on", "regression", "--url", "file:///etc/passwd"), "begins with https://"),
        (("--on", "regression", "--url", "https://"), "names a host"),
        (("--on", "regression", "--url", "https://me:secret@a.example/"), "no user and no password"),
        (("--on", "regression", "--url", "https://a.example/#x"), "ends before its #"),
        (("--on", "regression", "--url", "https://a.example:99999/"), "cannot be read"),
        (("--on", "regression", "--url", "https://a.example/\nx"), "printable ASCII"),
        (("--on", "regression", "--metric", "beauty", "--url", "https://a.example/"), "'beauty'"),
        (("--on", "change_point", "--metric", "beauty", "--url", "https://a.example/"), "no trend of"),
        (("--on", "failure_mode", "--detector", "D99", "--url", "https://a.example/"), "no detector"),
        (("--on", "failure_mode", "--task", "x", "--url", "https://a.example/"), "says nothing of"),
        (("--on", "anger", "--url", "https://a.example/"), "anger"),
    ],
)
def test_a_rule_that_makes_no_sense_is_refused_with_what_is_wrong(capsys, home: Path, arguments, said):
    assert execute(["alert", "add", "rule", "--home", str(home), *arguments]) == 2
    printed = capsys.readouterr()
    assert said in printed.err
    assert "secret" not in printed.err
    assert "Traceback" not in printed.err
    assert printed.out == ""
    assert not home.exists()


def test_a_secret_is_shown_once_and_neither_it_nor_a_path_is_logged_or_noted(
    start_daemon, quartermaster, samples: Path
):
    with closing(Receiver(500)) as receiver:
        secret = add_rule(quartermaster, "--on", "regression", "--url", receiver.url)
        daemon = start_daemon(**QUICK)
        regress(daemon, samples)
        daemon.wait_for(lambda: daemon.get("/api/v1/alerts/deliveries?state=delivered")["count"] == 1, 30)
        body = {"name": "over http", "trigger": {"on": "regression"}, "url": "https://a.example/hidden"}
        made = daemon.request("POST", "/api/v1/alerts/rules", body)
        assert made.status == 201
        (rule,) = (rule for rule in rows(quartermaster, "list") if rule["name"] == "worse")
        quartermaster("alert", "remove", rule["id"])
        shown = [
            json.dumps(daemon.get("/api/v1/alerts/rules")),
            json.dumps(daemon.get("/api/v1/alerts/deliveries")),
            json.dumps(rows(quartermaster, "list")),
            json.dumps(rows(quartermaster, "deliveries")),
            quartermaster("journal", "--format", "json").stdout,
            daemon.log.read_text(),
        ]
    for text in shown:
        for hidden in (secret, made.json["secret"], "path-that-is-secret", "hidden"):
            assert hidden not in text
    noted = [entry for entry in json.loads(shown[4]) if entry["entry_type"].startswith("audit.alert.")]
    assert sorted((entry["entry_type"], entry["actor_type"]) for entry in noted) == [
        ("audit.alert.rule_added", "operator"),
        ("audit.alert.rule_added", "user"),
        ("audit.alert.rule_removed", "operator"),
    ]


def send(rule: Rule) -> Any:
    return anyio.run(lambda: deliver(rule, "msg_1", b"{}", folder=Path("/"), seconds=5))


def webhook_rule(url: str, *, local: bool) -> Rule:
    return Rule(
        key=1,
        rule_id="al_1",
        workspace=1,
        workspace_id="ws_1",
        slug="crew",
        name="worse",
        trigger=OnRegression(),
        destination=Webhook(url=url, local=local),
        secret="whsec_c2VjcmV0",
        cursor=0,
        created_at=0,
        created_by="me",
    )


def test_a_redirect_is_not_followed_and_no_answer_is_no_delivery(receiver: Receiver):
    with closing(Receiver(302, headers={"Location": receiver.url})) as redirecting:
        attempt = send(webhook_rule(redirecting.url, local=True))
        assert (attempt.delivered, attempt.said) == (False, "answered 302: redirects are not followed")
        assert len(redirecting.requests) == 1
    assert receiver.requests == []
    assert send(webhook_rule(redirecting.url, local=True)).said == "no connection"


def test_a_receiver_says_how_long_to_wait_and_that_it_wants_no_more():
    with closing(Receiver(429, 410, headers={"Retry-After": "7"})) as receiver:
        assert send(webhook_rule(receiver.url, local=True)).after_seconds == 7
        assert send(webhook_rule(receiver.url, local=True)).final


def test_a_rule_that_was_made_over_http_reaches_nothing_near_the_daemon(receiver: Receiver):
    port = receiver.server.server_port
    for host in ("127.0.0.1", "localhost", "[::ffff:127.0.0.1]"):
        attempt = send(webhook_rule(f"http://{host}:{port}/", local=False))
        assert not attempt.delivered
        assert "private network" in attempt.said, host
    assert receiver.requests == []
    assert send(webhook_rule(receiver.url, local=True)).delivered


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "10.1.2.3",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "0.0.0.0",
        "224.0.0.1",
        "[::1]",
        "[fd00:ec2::254]",
        "[fe80::1]",
        "[::ffff:10.0.0.1]",
        "[64:ff9b::a00:1]",
        "[2002:a00:1::]",
        "localhost",
        "printer.local",
        "metadata.google.internal.",
    ],
)
def test_private_hosts_are_refused_at_once_over_http_and_welcome_on_the_machine(host: str):
    url = f"http://{host}/hook"
    assert webhook.check_url(url, local=True) == url
    with pytest.raises(UsageError, match="private network"):
        webhook.check_url(url, local=False)


@pytest.mark.parametrize("address", ["1.1.1.1", "2606:4700:4700::1111", "64:ff9b::101:101"])
def test_addresses_of_the_open_internet_are_public(address: str):
    assert webhook.is_public(address)


class Place:
    """A database with one workspace, and rules that are looked at step by step."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.workspace = database.write_blocking(
            lambda c: access.create_workspace(c, "crew", now=time.time_ns())
        ).key

    def rule(self, trigger: Trigger) -> Rule:
        destination = Webhook(url="https://a.example/", local=True)

        def add(connection: Any) -> Rule:
            new = new_rule(connection, self.workspace, "rule", trigger, destination, by="me", judging=JUDGING)
            return alerts.add_rule(connection, self.workspace, new, now=time.time_ns())

        return self.database.write_blocking(add)

    def record(self, raws: list[bytes]) -> None:
        self.database.write_blocking(lambda c: journal.append(c, self.workspace, raws, now=time.time_ns()))

    def loop(self, mission_id: str, times: int = 6) -> None:
        """A mission that makes the same call again and again."""
        entries = [
            {
                "id": f"j_{abs(hash_of(mission_id)) % 10**8:08d}{number:08d}",
                "mission_id": mission_id,
                "ts": f"2026-01-01T00:00:{number:02}Z",
                "entry_type": "exec.command",
                "payload": {"tool": "look", "arguments": {"at": "x"}, "output": "private words"},
            }
            for number in range(times)
        ]
        self.record([msgspec.json.encode(entry) for entry in entries])

    def examine(self, prices: OwnPrices = JUDGING.prices) -> None:
        ahead = Examiner(self.database, prices, busy=lambda: False, now=lambda: time.time_ns() + 10**18)
        while ahead.examine_some():
            pass

    def look(self, rule: Rule) -> list[Any]:
        """What a rule tells of now; its cursor moves."""
        current = self.database.read_blocking(lambda c: alerts.find_rule(c, self.workspace, rule.rule_id))
        found = self.database.read_blocking(lambda c: news(c, current, JUDGING), 60)
        if found is None:
            return []
        composed = [Composed(delivery_id(rule.rule_id, one.key), one.key, b"{}") for one in found.happenings]
        self.database.write_blocking(
            lambda c: alerts.advance(
                c, current, found.cursor, composed, series=found.series, now=time.time_ns()
            )
        )
        return found.happenings

    def states(self) -> list[str]:
        page = self.database.read_blocking(
            lambda c: alerts.list_deliveries(c, self.workspace, DeliveryFilter(limit=500))
        )
        return [one.state for one in page.rows]


def hash_of(text: str) -> int:
    return sum(index * ord(char) for index, char in enumerate(text, start=1))


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with Database(tmp_path / "quartermaster.db") as database:
        yield Place(database)


def test_a_finding_is_told_once_for_a_mission_and_new_rules_are_no_news_of_it(place: Place):
    place.loop("before")
    place.examine()
    rule = place.rule(OnFailureMode(severity="high", detectors=("D01",)))
    assert place.look(rule) == []
    place.loop("after")
    place.examine()
    (found,) = place.look(rule)
    assert (found.mission_id, found.detector, found.severity) == ("after", "D01", "high")
    assert place.look(rule) == []
    place.examine(OwnPrices(digest="another"))
    assert place.look(rule) == []
    place.loop("after", 12)
    place.examine()
    assert len(place.look(rule)) == 1
    assert place.states() == ["waiting"]


def test_a_finding_that_is_not_grave_enough_or_of_another_detector_is_not_told(place: Place):
    others = place.rule(OnFailureMode(severity="info", detectors=("D16",)))
    everything = place.rule(OnFailureMode(severity="info"))
    place.loop("looping")
    place.examine()
    assert place.look(others) == []
    assert "D01" in {one.detector for one in place.look(everything)}


def test_a_message_holds_no_words_of_a_recording(place: Place):
    rule = place.rule(OnFailureMode(severity="info"))
    place.loop("looping")
    place.examine()
    told = [message(one, rule.origin("http://q"), id="msg_1", at=0) for one in place.look(rule)]
    assert told
    assert all(b"private words" not in one and b"look" not in one for one in told)


def test_a_change_of_a_trend_is_told_once_and_not_by_a_rule_that_came_after_it(place: Place):
    trigger = OnChangePoint(metrics=("success_rate",))
    lines = [line.encode() for line in trend_world.lines()]
    early = place.rule(trigger)
    place.record(lines[: len(lines) // 2])
    assert place.look(early) == []
    place.record(lines[len(lines) // 2 : -50])
    (found,) = place.look(early)
    assert (found.agent, found.metric, found.event) == ("fixer", "success_rate", "change_point")
    assert abs(int(found.at[-2:]) - int(trend_world.CHANGED_AT[-2:])) <= 2
    late = place.rule(trigger)
    place.record(lines[-50:])
    assert place.look(early) == []
    assert place.look(late) == []
    known = place.database.read_blocking(lambda c: standing(c, place.workspace, trigger, JUDGING))
    assert len(known) == 1
    told = place.database.read_blocking(lambda c: past(c, place.workspace, trigger, 0, JUDGING))
    assert [one.happening.key for one in told] == [found.key]
    assert told[0].at[:10] >= found.at


def test_a_cursor_that_moved_meanwhile_writes_nothing_twice(place: Place):
    rule = place.rule(OnRegression())
    one = [Composed("msg_1", "regression er_1", b"{}")]

    def advance() -> int:
        return place.database.write_blocking(
            lambda c: alerts.advance(c, rule, 7, one, series={}, now=time.time_ns())
        )

    assert [advance(), advance()] == [1, 0]
    assert place.states() == ["waiting"]


def test_a_rule_that_fires_too_often_is_held_back_and_says_so(place: Place):
    rule = place.rule(OnRegression())
    many = [Composed(f"msg_{number}", f"event {number}", b"{}") for number in range(alerts.MOST_AN_HOUR + 5)]
    place.database.write_blocking(lambda c: alerts.advance(c, rule, 7, many, series={}, now=time.time_ns()))
    assert place.states().count("held back") == 5
    assert place.states().count("waiting") == alerts.MOST_AN_HOUR


def test_what_a_removed_rule_still_had_to_send_is_not_sent(place: Place):
    rule = place.rule(OnRegression())
    one = [Composed("msg_1", "regression er_1", b"{}")]

    def end(connection: Any) -> None:
        alerts.advance(connection, rule, 7, one, series={}, now=1)
        alerts.remove_rule(connection, rule, now=2)

    place.database.write_blocking(end)
    assert place.states() == ["cancelled"]
    assert place.database.read_blocking(lambda c: alerts.due(c, time.time_ns())) == []
    secrets = place.database.read_blocking(lambda c: c.execute("select secret from alert_rule").fetchall())
    assert secrets == [(None,)]


@pytest.mark.parametrize(
    "document",
    [
        {"on": "regression", "grade": "certain"},
        {"on": "regression", "severity": "high"},
        {"on": "failure_mode", "severity": "loud"},
        {"on": "failure_mode", "detectors": ["D999"]},
        {"on": "change_point", "by": "year"},
        {"on": "change_point", "metrics": ["beauty"]},
        {"on": 3},
        {},
    ],
)
def test_a_trigger_with_an_unknown_word_is_refused(document: dict[str, Any]):
    with pytest.raises(UsageError):
        trigger_of(document)
