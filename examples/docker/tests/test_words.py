import pytest

from words import count


@pytest.mark.parametrize("text, expected", [("", {}), ("a b a", {"a": 2, "b": 1}), ("A a", {"a": 2})])
def test_count(text, expected):
    assert count(text) == expected


def test_words_are_split_at_any_blank():
    assert count("a\tb\na") == {"a": 2, "b": 1}
