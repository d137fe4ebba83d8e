"""Alerts: once per crossing against a slow model, faults of the file with their lines, and real servers that are slow, refuse, or are not there."""
import http.server
import json
import math
import socketserver
import threading
from dataclasses import replace
from datetime import datetime, timedelta, timezone

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as st

from otsport.app.alerts_file import ALERTS_FILE, read_alerts
from otsport.app.cli_watch import alerting_of
from otsport.app.folder import new_folder, read_folder
from otsport.book.alerts import AlertRule, Alerts, kept_standing
from otsport.core.errors import FolderError
from otsport.core.now import Alert, Columns, DeskNow, Severity
from otsport.desk.alert_outlets import Alerting, Outlets, post_webhook

AT = datetime(2022, 12, 28, 15, tzinfo=timezone.utc)
LOSS = AlertRule("day loss", "day_return", below=-0.02, clear=-0.015, severity=Severity.CRITICAL, action="look", to=("log", "panel", "webhook", "mail"))


def desk(second, **by_portfolio):
    """A second in which portfolios have these day returns."""
    keys = tuple((name, name) for name in by_portfolio)
    return DeskNow(AT + timedelta(seconds=second), Columns(keys, {"day_return": np.array(list(by_portfolio.values()), dtype=float)}))


level = st.sampled_from([-0.05, -0.02, -0.0199, -0.0151, -0.015, -0.01, 0.0, 0.03, math.nan])


@effort(max_examples=500, deadline=None)
@given(st.lists(level, max_size=40), st.sampled_from([0, 2]))
def test_once_per_crossing_as_a_slow_model_has_it(path, lasting):
    alerts, stands, since, said, told = Alerts([replace(LOSS, for_seconds=lasting)]), False, None, [], []
    for i, x in enumerate(path):
        told.append(len(alerts(desk(i, main=x))[0]))
        fires = 0
        if x == x:  # what is not known changes nothing
            if stands:
                stands = not x >= -0.015
                since = since if stands else None
            elif x <= -0.02:
                since = i if since is None else since
                stands = i - since >= lasting
                fires = int(stands)
            else:
                since = None
        said.append(fires)
        assert bool(alerts.standing) == stands
    assert told == said


def test_rule_without_hysteresis_would_say_it_again():
    tremble = [-0.0201 if i % 2 else -0.0199 for i in range(20)]
    count = lambda rule: (lambda a: sum(len(a(desk(i, main=x))[0]) for i, x in enumerate(tremble)))(Alerts([rule]))
    assert count(LOSS) == 1 and count(replace(LOSS, clear=-0.02 + 1e-9)) == 10  # negative control


def test_each_portfolio_and_position_has_its_own_crossing():
    alerts = Alerts([LOSS, replace(LOSS, name="of ira", portfolios=("ira",))])
    fired = alerts(desk(0, main=-0.03, ira=-0.03))[0]
    assert sorted((a.rule, a.portfolio) for a in fired) == [("day loss", "ira"), ("day loss", "main"), ("of ira", "ira")]
    assert len(alerts(desk(1, main=0.0, ira=-0.03))[1]) == 2 and len(alerts.cleared) == 1
    assert len(alerts(desk(2, ira=-0.03))[1]) == 2  # a portfolio that is not watched says nothing of its alerts
    positions = lambda s, **w: replace(desk(s, main=0.0), positions=Columns(tuple(("main", k) for k in w), {"weight": np.array(list(w.values()))}))
    large = Alerts([AlertRule("large", "weight", above=0.2, of="position")])
    assert [a.subject for a in large(positions(0, KO=0.3, PEP=0.1))[0]] == ["KO"]
    assert large(positions(1, PEP=0.1))[1] == ()  # sold: it is not there any more
    assert [a.subject for a in large(positions(2, KO=0.3, PEP=0.1))[0]] == ["KO"]


FAULTS = [
    ("watch: day_retrun\n    below: -1", "line 4: alerts[1].watch = 'day_retrun': a portfolio has no such figure: did you mean day_return?"),
    ("watch: weight\n    above: 1", "line 4: alerts[1].watch = 'weight': a portfolio has no such figure (positions have it: write of: position)"),
    ("watch: nav\n    above: 1\n    below: 2", "line 3: alerts[1]: loss has two lines"),
    ("watch: nav", "line 3: alerts[1]: loss has no line"),
    ("watch: nav\n    above: many", "line 5: alerts[1].above = 'many'"),
    ("watch: nav\n    above: 1\n    severity: criticl", "line 6: alerts[1].severity = 'criticl': no severity has this name: did you mean critical?"),
    ("watch: nav\n    above: 1\n    clear: 2", "line 6: alerts[1].clear = 2"),
    ("watch: nav\n    above: 1\n    quiet: [25:00-26:00]", "line 6: alerts[1].quiet"),
    ("watch: nav\n    above: 1\n    to: [webhook]", "outputs has no webhook: set it up there"),
    ("watch: nav\n    above: 1\n    to: [pigeon]", "no output has this name"),
    ("watch: nav\n    above: .inf", "line 5: alerts[1].above"),
    ("watch: nav\n    above: 1\n    sevrity: info", "line 6: alerts[1].sevrity = 'info': there is no such field here: did you mean severity?"),
]


@pytest.mark.parametrize("lines, words", FAULTS, ids=[f"fault{i}" for i in range(len(FAULTS))])
def test_fault_of_the_file_names_line_field_and_rule(tmp_path, lines, words):
    (tmp_path / ALERTS_FILE).write_text(f"version: 1\nalerts:\n  - name: loss\n    {lines}\n")
    with pytest.raises(FolderError) as told:
        read_alerts(tmp_path)
    assert "alerts.yaml" in str(told.value) and words in str(told.value)


def test_outputs_of_the_file_are_checked(tmp_path):
    for lines, words in (("webhook: {url: 'ftp://x'}", "it is no address of the web"), ("mail: {server: m, from: a@b, to: [c@d], user: u}", "user and password_file belong together"),
                         ("mail: {server: m, to: [c@d]}", "the field from is missing"), ("pager: {}", "there is no such field here")):
        (tmp_path / ALERTS_FILE).write_text(f"version: 1\noutputs:\n  {lines}\n")
        with pytest.raises(FolderError, match=words):
            read_alerts(tmp_path)


def test_sample_has_alerts_and_each_goes_where_outputs_are(tmp_path):
    folder = new_folder(tmp_path / "desk")
    assert len(read_alerts(folder.path).rules) == 7 and {r.to for r in read_alerts(folder.path).rules} == {("log", "panel")}
    path = folder.path / ALERTS_FILE
    path.write_text(path.read_text() + "quiet: ['20:00-06:00']\noutputs:\n  webhook: {url: 'http://127.0.0.1:1/'}\n")
    rules = {r.name: r for r in read_alerts(folder.path).rules}
    assert rules["day loss"].to == ("log", "panel", "webhook") and rules["day loss"].quiet == () and rules["prices are old"].quiet == ("20:00-06:00",)


class Hook(http.server.BaseHTTPRequestHandler):
    """A web server that keeps what is posted, after so many refusals, slowly where asked."""
    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.gate.wait(30)
        self.server.refusals -= 1
        if self.server.refusals < 0:
            self.server.got.append(body)  # before the answer, after which the client goes on
        self.send_response(200 if self.server.refusals < 0 else 503)
        self.end_headers()

    def log_message(self, *_):
        pass


class Post(socketserver.StreamRequestHandler):
    """A mail server that says what SMTP wants to hear, and keeps the letters."""
    def handle(self):
        say = lambda text: self.wfile.write(f"{text}\r\n".encode())
        say("220 test")
        for line in self.rfile:
            word = line.decode().strip()
            if word.upper().startswith(("EHLO", "HELO")):
                say("250 test")
            elif word.upper() == "DATA":
                say("354 go on")
                letter = []
                for part in self.rfile:
                    if part == b".\r\n":
                        break
                    letter.append(part.decode())
                self.server.got.append("".join(letter))
                say("250 kept")
            elif word.upper() == "QUIT":
                say("221 bye")
                return
            else:
                say("250 ok")


@pytest.fixture
def servers():
    """A web server and a mail server of this machine."""
    web, mail = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hook), socketserver.ThreadingTCPServer(("127.0.0.1", 0), Post)
    for server in (web, mail):
        server.got, server.refusals, server.gate, server.daemon_threads = [], 0, threading.Event(), True
        server.gate.set()
        threading.Thread(target=server.serve_forever, daemon=True).start()
    yield web, mail
    for server in (web, mail):
        server.shutdown()
        server.server_close()


def own_alerting(tmp_path, web, mail, call_backs=()):
    """The alerts of a folder whose outputs are these servers."""
    folder = read_folder(new_folder(tmp_path / "desk").path)
    (folder.path / ALERTS_FILE).write_text(f"""version: 1
alerts:
  - {{name: day loss, watch: day_return, below: -0.02, severity: critical, action: "halt the book"}}
outputs:
  webhook: {{url: "http://127.0.0.1:{web.server_address[1]}/"}}
  mail: {{server: 127.0.0.1, port: {mail.server_address[1]}, tls: false, from: desk@example.com, to: [you@example.com]}}
""")
    (folder.path / "state").mkdir(exist_ok=True)
    return alerting_of(folder, folder.path / "state", call_backs)


def test_crossing_is_posted_mailed_and_logged_once(tmp_path, servers):
    web, mail = servers
    web.refusals, heard = 1, []
    alerting = own_alerting(tmp_path, web, mail, [heard.append])
    alerting.outlets.pause = 0.05
    for i, x in enumerate((-0.01, -0.03, -0.04, -0.03)):
        alerting(desk(i, main=x))
    alerting.close()
    assert [(p["rule"], p["value"], p["action"]) for p in web.got] == [("day loss", -0.03, "halt the book")]
    (letter,) = mail.got
    assert "Subject: [otsport] critical: day loss, main" in letter and "To: you@example.com" in letter and "What to do: halt the book" in letter
    (line,) = (tmp_path / "desk" / "state" / "alerts.log").read_text().splitlines()
    assert len(heard) == 1 and line.endswith("Z critical: day loss: day_return of main is -0.03, limit -0.02")


def test_restart_does_not_say_it_again(tmp_path, servers):
    web, mail = servers
    state = tmp_path
    for run in range(3):
        alerting = Alerting([LOSS], Outlets({"webhook": lambda a: post_webhook(f"http://127.0.0.1:{web.server_address[1]}/", a)}), state)
        alerting(desk(run, main=-0.03))
        alerting.close()
    assert len(web.got) == 1 and len(kept_standing(state / "alerts.json")) == 1
    (state / "alerts.json").unlink()  # negative control: without its memory it says it again
    alerting = Alerting([LOSS], Outlets({"webhook": lambda a: post_webhook(f"http://127.0.0.1:{web.server_address[1]}/", a)}), state)
    alerting(desk(9, main=-0.03))
    alerting.close()
    assert len(web.got) == 2


def test_slow_server_does_not_hold_up_the_monitor(servers):
    web, _ = servers
    web.gate.clear()  # the server takes the message, and does not answer
    outlets = Outlets({"webhook": lambda a: post_webhook(f"http://127.0.0.1:{web.server_address[1]}/", a)})
    alerting = Alerting([LOSS], outlets)
    for i, x in enumerate((-0.03, 0.0, -0.03)):
        alerting(desk(i, main=x))
    assert web.got == []  # the seconds went on, and nothing is delivered yet
    web.gate.set()
    alerting.close()
    assert len(web.got) == 2  # both were delivered all the same


def test_server_that_is_not_there_is_told_in_the_panel():
    alerting = Alerting([LOSS], Outlets({"webhook": lambda a: post_webhook("http://127.0.0.1:1/", a, 0.5)}, pause=0.0))
    alerting(desk(0, main=-0.03))
    alerting.outlets.close()
    now = alerting(desk(1, main=-0.03))
    assert any("webhook was not delivered after 3 tries" in n for n in now.notes)
