import os
import subprocess
import sys


def test_prints():
    print("to stdout")
    print("to stderr", file=sys.stderr)


def test_closes_fd():
    os.close(1)


def test_closes_stream():
    sys.stdout.close()


def test_replaces():
    sys.stdout = open(os.devnull, "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)


def test_closes_everything():
    os.closerange(3, 64)


def test_does_not_block():
    os.set_blocking(1, False)


def test_child_prints():
    subprocess.run(["sh", "-c", "echo from a child; echo and its errors >&2"], check=True)


def test_bytes():
    os.write(1, b"\xff\xfe\x00\x1b[31mred\x00\x1brunner-")


def test_prints_a_lot():
    for number in range(200000):
        print("line %d of many" % number)
