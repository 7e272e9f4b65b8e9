"""Test when a web host is given up, and when it is asked again."""

from __future__ import annotations

from pipeline.storage import HostHealth


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_host_that_never_answered_is_given_up_after_a_few_failures() -> None:
    hosts = HostHealth(Clock())
    for _ in range(2):
        hosts.silent("a", timed_out=False)
        assert hosts.may_ask("a")
    hosts.silent("a", timed_out=False)
    assert (hosts.is_given_up("a"), hosts.may_ask("a"), hosts.may_ask("b")) == (True, False, True)


def test_a_timeout_counts_twice() -> None:
    hosts = HostHealth(Clock())
    hosts.silent("a", timed_out=True)
    assert not hosts.is_given_up("a")
    hosts.silent("a", timed_out=True)
    assert hosts.is_given_up("a")


def test_one_request_in_a_while_finds_out_whether_the_host_is_back() -> None:
    clock = Clock()
    hosts = HostHealth(clock)
    for _ in range(3):
        hosts.silent("a", timed_out=False)
    clock.now += 31
    assert [hosts.may_ask("a") for _ in range(3)] == [True, False, False]
    hosts.silent("a", timed_out=False)
    clock.now += 29
    assert not hosts.may_ask("a")
    clock.now += 2
    assert hosts.may_ask("a")
    hosts.answered("a")
    assert [hosts.may_ask("a") for _ in range(3)] == [True] * 3
    assert not hosts.is_given_up("a")


def test_a_host_that_served_before_keeps_its_retries_until_three_objects_used_them_up() -> None:
    hosts = HostHealth(Clock())
    hosts.answered("a")
    hosts.served("a")
    for _ in range(50):
        hosts.silent("a", timed_out=True)
    assert (hosts.is_given_up("a"), hosts.tries("a")) == (False, None)
    for _ in range(2):
        hosts.spent("a")
    assert (hosts.is_given_up("a"), hosts.tries("a")) == (False, None)
    hosts.spent("a")
    assert (hosts.is_given_up("a"), hosts.tries("a")) == (True, 1)


def test_a_host_that_responds_but_serves_nothing_is_given_up_after_three_objects() -> None:
    hosts = HostHealth(Clock())
    for expected in (4, 4, 4):
        assert hosts.tries("a") == expected
        hosts.answered("a")
        hosts.spent("a")
    assert hosts.is_given_up("a")


def test_a_busy_host_that_served_before_is_asked_once_for_each_object_until_it_serves_again() -> None:
    hosts = HostHealth(Clock())
    hosts.served("a")
    for _ in range(9):
        hosts.answered("a")
        hosts.spent("a")
    assert (hosts.is_given_up("a"), hosts.may_ask("a"), hosts.tries("a")) == (False, True, 1)
    hosts.served("a")
    assert hosts.tries("a") is None


def test_the_oldest_hosts_are_forgotten() -> None:
    hosts = HostHealth(Clock())
    for _ in range(3):
        hosts.silent("old", timed_out=False)
    for number in range(50_000):
        hosts.may_ask(str(number))
    assert hosts.may_ask("old")
