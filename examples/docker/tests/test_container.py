import os


def test_the_environment_is_the_configured_one():
    assert os.environ["GREETING"] == "hello"


def test_this_is_a_container():
    with open("/proc/1/cmdline", "rb") as file:
        assert file.read().startswith(b"/.runner/agent")


def test_one_may_write_here():
    with open("scratch.txt", "w") as file:
        file.write("gone with the container")
