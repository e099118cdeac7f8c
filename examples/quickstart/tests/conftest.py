import pytest

from shop.stock import Stock


@pytest.fixture
def stock(tmp_path):
    stock = Stock(str(tmp_path / "stock.db"))
    stock.receive("tea", 10)
    yield stock
    stock.close()
