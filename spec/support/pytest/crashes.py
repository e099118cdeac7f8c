import ctypes
import os
import signal
import subprocess
import time


def test_before():
    print("before")


def test_segfault():
    ctypes.string_at(0)


def test_exit():
    os._exit(0)


def test_kill():
    os.kill(os.getpid(), signal.SIGKILL)


def test_hang():
    wait_forever()


def wait_forever():
    print("hanging", flush=True)
    time.sleep(3600)


def test_hang_ignoring_term():
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    wait_forever()


def test_leaves_daemon():
    child = subprocess.Popen(["sleep", "3600"], start_new_session=True)
    print("daemon", child.pid)


def test_after():
    print("after")
