import os

import pytest


@pytest.fixture(scope="module")
def terminal():
    """Set up once in each worker, as with pytest itself."""
    return {"accepted": []}


def test_payment_is_accepted(terminal):
    terminal["accepted"].append(1250)
    assert 1250 in terminal["accepted"]


def test_the_line_to_the_bank_is_up():
    """Fails on its first try, as tests that lean on a network sometimes do: watch it be retried."""
    attempt = int(os.environ.get("RUNNER_ATTEMPT", "1"))
    assert attempt > 1, "the bank did not answer"


@pytest.mark.xfail(reason="refunds are not written yet")
def test_refund(terminal):
    assert terminal["refunds"] == []
