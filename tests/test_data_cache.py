"""The contract of every cache: the newest value, told in order, whatever the subscribers do."""
import logging
from threading import Barrier, Thread

import pytest

from otsport.data.cache import Cache


@pytest.fixture(params=["memory"])
def cache(request) -> Cache:
    return Cache()


def test_cache_keeps_the_newest(cache):
    cache.put("quote KO", 1)
    cache.put("quote KO", 2)
    cache.put("nav", 3)
    assert cache.get("quote KO") == 2 and cache.get("absent") is None and cache.get("absent", 7) == 7
    assert cache.latest() == {"nav": 3, "quote KO": 2}
    assert cache.latest("quote ") == {"quote KO": 2}


def test_cache_subscribers_hear_their_prefix_until_they_stop(cache):
    heard = []
    stop = cache.subscribe(lambda key, value: heard.append((key, value)), "quote ")
    cache.put("quote KO", 1)
    cache.put("nav", 2)
    stop()
    stop()
    cache.put("quote KO", 3)
    assert heard == [("quote KO", 1)]


def test_cache_failing_subscriber_is_logged_and_the_others_hear(cache, caplog):
    heard = []
    cache.subscribe(lambda key, value: 1 / 0)
    cache.subscribe(lambda key, value: heard.append(value))
    with caplog.at_level(logging.ERROR):
        cache.put("quote KO", 1)
    assert heard == [1] and "a subscriber failed on quote KO" in caplog.text and "ZeroDivisionError" in caplog.text


def test_cache_order_over_threads(cache):
    heard, start = [], Barrier(3)
    cache.subscribe(lambda key, value: heard.append((key, value)))

    def put_all(name):
        start.wait()
        for n in range(500):
            cache.put(name, n)
            assert cache.get(name) == n

    threads = [Thread(target=put_all, args=(f"t{n}",)) for n in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(heard) == 1500
    for n in range(3):
        assert [v for k, v in heard if k == f"t{n}"] == list(range(500))


def test_cache_newest_heard_is_newest_kept(cache):
    "Two threads race on one key: who heard last heard what is kept."
    heard, start = [], Barrier(2)
    cache.subscribe(lambda key, value: heard.append(value))

    def put_all(offset):
        start.wait()
        for n in range(1000):
            cache.put("quote KO", offset + n)

    threads = [Thread(target=put_all, args=(o,)) for o in (0, 10_000)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert heard[-1] == cache.get("quote KO")
