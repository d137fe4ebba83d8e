"""News over processes: each listener hears once, whoever speaks, and a server that goes away stops nobody."""
import os
import subprocess
import sys
import time
from uuid import uuid4

import pytest

from otsport.core.errors import InputError
from otsport.data.bus import LocalBus, RedisBus, open_bus
from run_support import free_port


def start_redis(port: int) -> subprocess.Popen:
    "A Redis of the test's own; a machine without one skips, but not in CI."
    try:
        server = subprocess.Popen(["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"], stdout=subprocess.DEVNULL)
    except FileNotFoundError:
        if os.environ.get("CI"):
            raise
        pytest.skip("no redis-server is installed here")
    return server


def wait_until(true, seconds=20):
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.01)


@pytest.fixture(scope="module")
def redis_port():
    port = free_port()
    server = start_redis(port)
    bus = RedisBus(f"redis://127.0.0.1:{port}/0", "probe")
    wait_until(lambda: bus.publish("up", 1) is None and bus.connected or time.sleep(0.2))
    bus.close()
    yield port
    server.kill()
    server.wait()


@pytest.fixture(params=["local", "redis"])
def bus(request):
    if request.param == "local":
        made = LocalBus()
    else:
        made = RedisBus(f"redis://127.0.0.1:{request.getfixturevalue('redis_port')}/0", f"t{uuid4().hex}")
    yield made
    made.close()


def test_each_listener_hears_once_and_in_order(bus):
    heard, others = [], []
    bus.subscribe("snapshots.*", lambda topic, message: heard.append((topic, message["n"])))
    bus.subscribe("alerts.main", lambda topic, message: others.append(message))
    for n in range(500):
        bus.publish(f"snapshots.{n % 3}", {"n": n})
    bus.publish("alerts.main", {"rule": "drawdown"})
    wait_until(lambda: others)
    assert heard == [(f"snapshots.{n % 3}", n) for n in range(500)] and others == [{"rule": "drawdown"}]
    assert bus.latest("snapshots.2") == {"n": 497} and bus.latest("snapshots.9") is None


def test_who_stops_listening_hears_no_more(bus):
    heard, kept = [], []
    stop = bus.subscribe("a", lambda topic, message: heard.append(message))
    bus.subscribe("a", lambda topic, message: kept.append(message))
    bus.publish("a", 1)
    wait_until(lambda: kept == [1])
    stop()
    bus.publish("a", 2)
    wait_until(lambda: kept == [1, 2])
    assert heard == [1]


def test_a_listener_that_raises_stops_neither_the_others_nor_who_speaks(bus):
    heard = []
    bus.subscribe("a", lambda topic, message: 1 / 0)
    bus.subscribe("a", lambda topic, message: heard.append(message))
    bus.publish("a", 1)
    wait_until(lambda: heard == [1])


OTHER = """
import sys, time
from otsport.data.bus import open_bus
bus = open_bus(sys.argv[1], sys.argv[2])
bus.subscribe("snapshots.main", lambda topic, message: print(message["n"], flush=True))
print("ready", flush=True)
time.sleep(60)
"""


def test_another_process_hears(redis_port):
    url, prefix = f"redis://127.0.0.1:{redis_port}/0", f"t{uuid4().hex}"
    other = subprocess.Popen([sys.executable, "-c", OTHER, url, prefix], stdout=subprocess.PIPE, text=True)
    try:
        assert other.stdout.readline() == "ready\n"
        bus = open_bus(url, prefix)
        for n in range(100):
            bus.publish("snapshots.main", {"n": n})
        assert [int(other.stdout.readline()) for _ in range(100)] == list(range(100))
        assert bus.missed == 0
        bus.close()
    finally:
        other.kill()
        other.wait()


def test_a_server_that_goes_and_comes_back(caplog):
    "While it is away this process hears itself, quickly; other processes hear again when it is back; the log says so once."
    port = free_port()
    server = start_redis(port)
    prefix = f"t{uuid4().hex}"
    here, there = (RedisBus(f"redis://127.0.0.1:{port}/0", prefix) for _ in range(2))
    ours, theirs = [], []
    try:
        wait_until(lambda: here.publish("up", 1) is None and here.connected or time.sleep(0.2))
        here.subscribe("n", lambda topic, message: ours.append(message))
        there.subscribe("n", lambda topic, message: theirs.append(message))
        wait_until(lambda: here._listening.is_set() and there._listening.is_set())
        here.publish("n", 1)
        wait_until(lambda: ours == theirs == [1])
        server.kill()
        server.wait()
        caplog.clear()
        begun, before = time.monotonic(), here.missed
        for n in range(2, 1002):
            here.publish("n", n)
        assert time.monotonic() - begun < 5 and here.missed - before == 1000 and not here.connected
        wait_until(lambda: ours == list(range(1, 1002)))
        assert theirs == [1] and sum("other processes hear nothing" in r.message for r in caplog.records) == 1
        assert here.latest("n") == 1001
        server = start_redis(port)
        wait_until(lambda: here._listening.is_set() and there._listening.is_set())
        wait_until(lambda: here.publish("up", 1) is None and here.connected or time.sleep(0.2))
        here.publish("n", 1002)
        wait_until(lambda: theirs == [1, 1002] and ours[-1] == 1002)
        assert len(ours) == 1002
    finally:
        here.close()
        there.close()
        server.kill()
        server.wait()


def test_an_address_that_is_none_is_refused_without_its_password():
    with pytest.raises(InputError) as error:
        open_bus("http://me:secret@host")
    assert "redis://HOST" in str(error.value) and "secret" not in str(error.value)
