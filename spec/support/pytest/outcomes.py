import logging
import os
import sys

import pytest


def test_pass():
    pass


def test_fail():
    logging.getLogger("sample").warning("a warning")
    assert 1 == 2


@pytest.mark.skip(reason="not now")
def test_skip():
    pass


@pytest.mark.xfail(reason="known")
def test_xfail():
    assert 0


@pytest.mark.xfail(reason="known")
def test_xpass():
    pass


@pytest.mark.xfail(reason="known", strict=True)
def test_xpass_strict():
    pass


@pytest.fixture
def broken():
    raise ValueError("no fixture today")


def test_setup_error(broken):
    pass


@pytest.fixture
def breaks():
    yield
    raise ValueError("cannot clean up")


def test_teardown_error(breaks):
    pass


def test_pytest_exit():
    pytest.exit("enough")


def test_keyboard_interrupt():
    raise KeyboardInterrupt


def test_sys_exit():
    sys.exit(3)


class TestClass:
    @pytest.mark.slow
    def test_method(self):
        pass


@pytest.mark.parametrize("value", ["a b", "[x]", "quote'\"", "new\nline", "k" * 10000])
def test_ids(value):
    pass


def test_environment():
    ours = [key for key in sorted(os.environ) if key.startswith(("RUNNER_", "PYTEST_XDIST"))]
    print({key: os.environ[key] for key in ours})
