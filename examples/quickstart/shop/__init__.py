"""A very small shop: what the tests of this example are about."""
