import sys
import time

import pytest


def test_selling_takes_from_stock(stock):
    stock.sell("tea", 3)
    assert stock.count("tea") == 7


def test_nobody_sells_what_is_not_there(stock):
    with pytest.raises(LookupError, match="not enough of tea"):
        stock.sell("tea", 11)
    assert stock.count("tea") == 10


def test_unknown_items_count_as_none(stock):
    assert stock.count("coffee") == 0


@pytest.mark.slow
@pytest.mark.parametrize("supplier", ["north", "south", "east", "west"])
def test_delivery(stock, supplier):
    time.sleep(0.25)  # stands for a slow supplier; two wait at the same time
    stock.receive("tea", 5)
    assert stock.count("tea") == 15


@pytest.mark.skipif(sys.platform != "win32", reason="stock drives with letters exist on Windows only")
def test_drive_letters():
    raise AssertionError("never runs here")
