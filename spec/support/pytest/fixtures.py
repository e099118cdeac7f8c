import pytest


@pytest.fixture(scope="session")
def session_wide():
    print("<session up>")
    yield
    print("<session down>")


@pytest.fixture(scope="module")
def module_wide(session_wide):
    print("<module up>")
    yield
    print("<module down>")


def test_1(module_wide):
    pass


def test_2(module_wide):
    pass


def test_3(module_wide):
    pass
