"""Whether a process that has collected may be forked."""
import os
import sys
import threading
import warnings


class WatchedEnviron(os._Environ):
    """os.environ while modules are imported: notes who asks for the worker's name. A module
    that does so at import would give the same answer in every fork."""

    asked = None

    def __getitem__(self, key):
        if key in ("PYTEST_XDIST_WORKER", "RUNNER_WORKER") and WatchedEnviron.asked is None:
            frame = sys._getframe(1)
            while frame and frame.f_globals.get("__name__") in ("os", "collections.abc"):
                frame = frame.f_back
            if frame:
                WatchedEnviron.asked = "%s:%d" % (frame.f_code.co_filename, frame.f_lineno)
        return super().__getitem__(key)


def watch_environ():
    os.environ.__class__ = WatchedEnviron


def unwatch_environ():
    os.environ.__class__ = os._Environ


def why_not_at_all():
    """What is so after collection stays so; None: nothing is against a first fork."""
    if WatchedEnviron.asked:
        return "%s asks for the worker's name while it is imported" % WatchedEnviron.asked
    why = why_not_now()
    if why is None and task_count() > 1:
        # Native threads. Some libraries (OpenBLAS) end theirs around a fork: try one.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            pid = os.fork()
            if pid == 0:
                os._exit(0)
        os.waitpid(pid, 0)
        if task_count() > 1:
            why = "native threads run after collection"
    return why


def why_not_now():
    """A fork has only the thread that called it: locks the others hold stay locked."""
    if threading.active_count() == 1:
        return None
    names = [t.name for t in threading.enumerate() if t is not threading.main_thread()]
    return "threads run after collection (%s)" % ", ".join(names)


def task_count():
    try:
        return len(os.listdir("/proc/self/task"))
    except OSError:
        return 1
