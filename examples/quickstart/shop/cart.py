"""A cart adds up prices in cents, so that no sum is ever off by rounding."""

from dataclasses import dataclass, field
from typing import Dict, Tuple


@dataclass
class Cart:
    """Items by name: (price in cents, quantity)."""

    items: Dict[str, Tuple[int, int]] = field(default_factory=dict)

    def add(self, name: str, price: int, quantity: int = 1) -> None:
        if price < 0 or quantity < 1:
            raise ValueError(f"cannot add {quantity} of {name} at {price}")
        _, present = self.items.get(name, (price, 0))
        self.items[name] = (price, present + quantity)

    def total(self, discount: int = 0) -> int:
        """The sum in cents, less `discount` percent, rounded down."""
        full = sum(price * quantity for price, quantity in self.items.values())
        return full * (100 - discount) // 100


def format_price(cents: int) -> str:
    return f"{cents // 100}.{cents % 100:02d} €"
