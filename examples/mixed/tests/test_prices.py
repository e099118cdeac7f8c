import os

import pytest


def discounted(cents, percent):
    return cents - cents * percent // 100


@pytest.mark.parametrize("cents", [0, 100, 250])
def test_no_discount(cents):
    assert discounted(cents, 0) == cents


def test_second_try():
    assert os.environ["RUNNER_ATTEMPT"] == "2"


@pytest.mark.skip(reason="no vouchers yet")
def test_voucher():
    pass
