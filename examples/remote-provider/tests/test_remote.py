import os

import pytest


def test_runs_elsewhere():
    assert os.path.basename(os.getcwd()) == os.path.basename(os.environ["ELSEWHERE"])


@pytest.mark.parametrize("text", ["plain", "with a space", "it's quoted"])
def test_names_survive_two_shells(text):
    print("tested", text)


@pytest.mark.skip(reason="shows in the summary")
def test_not_today():
    raise AssertionError
