import os
import signal
import sys
import time

import pytest


def test_adds():
    assert 2 + 3 == 5


def test_discount():
    assert 10 * 0.8 == 9


@pytest.mark.skip(reason="there is no printer")
def test_prints():
    pass


@pytest.mark.xfail(reason="nobody has decided how")
def test_rounds():
    assert 0.1 + 0.2 == 0.3


def test_flaky():
    assert os.environ.get("RUNNER_ATTEMPT", "1") != "1"


def test_crash():
    os.kill(os.getpid(), signal.SIGSEGV)


def test_hang():
    time.sleep(1000)


@pytest.fixture
def till():
    yield
    assert False, "the till is open"


def test_closes(till):
    pass


@pytest.mark.parametrize("name", ["a b", "ü", "[x]", "'q'", "a::b", "-x", "a\nb"])
def test_names(name):
    sys.stdout.write(f"{name}\n")


def test_output():
    os.write(1, b"caf\xe9 \0 end\n")
