import pytest

from shop.cart import Cart, format_price


def test_an_empty_cart_costs_nothing():
    assert Cart().total() == 0


def test_the_same_item_twice_is_one_line():
    cart = Cart()
    cart.add("tea", 350)
    cart.add("tea", 350, quantity=2)
    assert cart.items == {"tea": (350, 3)}


@pytest.mark.parametrize(
    ("discount", "total"), [(0, 1000), (10, 900), (33, 670), (100, 0)], ids=lambda n: f"{n}"
)
def test_discount(discount, total):
    cart = Cart()
    cart.add("cake", 1000)
    assert cart.total(discount) == total


@pytest.mark.parametrize(("price", "quantity"), [(-1, 1), (100, 0)])
def test_nonsense_is_refused(price, quantity):
    with pytest.raises(ValueError, match="cannot add"):
        Cart().add("tea", price, quantity)


@pytest.mark.parametrize("cents", [0, 5, 199, 123456])
def test_prices_have_two_decimals(cents):
    assert format_price(cents).split(" ")[0].partition(".")[2].isdigit()
