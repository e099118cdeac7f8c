"""What pytest sees of us: the hooks through which a process starts, works and ends.
PYTEST_DONT_REWRITE"""
import atexit
import gc
import os
import sys
import threading
import traceback
from os import _exit, getpid  # whatever a test puts in their place

import pytest

from runner_worker import coverage, node
from runner_worker.collect import Announcer, Collection
from runner_worker.control import Control
from runner_worker.exits import leave_quickly
from runner_worker.forkable import unwatch_environ, watch_environ
from runner_worker.results import Outcome
from runner_worker.slot import Slot
from runner_worker.terminal import Terminal
from runner_worker.text import first_line, printable
from runner_worker.zygote import Zygote

CONTROL_FD = 3


def hide_folder():
    """Take the folder this package was found in off the path again: it is no test's business."""
    folder = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    sys.path[:] = [entry for entry in sys.path if entry != folder]
    kept = [e for e in os.environ.get("PYTHONPATH", "").split(os.pathsep) if e != folder]
    if kept and kept != [""]:
        os.environ["PYTHONPATH"] = os.pathsep.join(kept)
    else:
        os.environ.pop("PYTHONPATH", None)


if int(pytest.__version__.partition(".")[0]) < 7:
    raise pytest.UsageError("runner needs pytest 7 or newer, this is " + pytest.__version__)
hide_folder()
control = Control(CONTROL_FD)
order = control.first()
collection, outcome = Collection(), Outcome()
zygote = announcer = None
if "zygote" in order:
    zygote, announcer = Zygote(control), Announcer(control)
    watch_environ()
else:
    node.set_environment(order["slot"])
# Collecting makes objects that stay; looking for garbage among them is time lost. A threshold of
# 0 does what gc.disable() does, and leaves that switch to the project.
gc_threshold = gc.get_threshold()
gc.set_threshold(0)


# -- configuration ---------------------------------------------------------------------------


def neutralise(option):
    """Options for what the host does."""
    for name, value in (
        ("numprocesses", None), ("maxprocesses", None), ("dist", "no"), ("distload", False),
        ("tx", []), ("looponfail", False), ("usepdb", False), ("maxfail", 0),
    ):
        if hasattr(option, name):
            setattr(option, name, value)


@pytest.hookimpl(hookwrapper=True)
def pytest_load_initial_conftests(early_config):
    # Before pytest-cov looks: we are the ones who distribute, and a fresh worker must not erase
    # what others measured.
    option = early_config.known_args_namespace
    neutralise(option)
    if not zygote and hasattr(option, "cov_append"):
        option.cov_append = True
    yield


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config):
    if zygote:
        if config.option.maxfail:
            control.log("info", "pytest's own --maxfail/-x is not used: see fail_fast and max_fail")
        if getattr(config.option, "xmlpath", None):
            control.log("info", "pytest's own --junit-xml is not used: see report.junit")
    neutralise(config.option)
    config.option.xmlpath = None
    # Its status server is a thread, and serves xdist's processes only.
    rerunfailures = sys.modules.get("pytest_rerunfailures")
    if rerunfailures:
        rerunfailures.HAS_PYTEST_HANDLECRASHITEM = False
    for plugin in (collection, announcer, outcome):
        if plugin:
            config.pluginmanager.register(plugin)
    if not zygote:
        configure_fresh(config, order["slot"])


def configure_fresh(config, spec):
    if spec.get("workerinput"):
        node.become_worker(config, spec)
    if order.get("files"):
        config.args = list(order["files"])
    if spec.get("basetemp"):
        config.option.basetemp = node.own_folder(spec["basetemp"], spec)


@pytest.hookimpl(hookwrapper=True, tryfirst=True)
def pytest_sessionstart(session):
    config = session.config
    terminal = Terminal(config.pluginmanager)
    terminal.silence()
    if not zygote:
        # The zygote died before it could say what plug-ins hand to their workers: they are
        # configured without.
        if not hasattr(config, "workerinput"):
            node.become_worker(config, order["slot"])
        coverage.stop(config)
    yield
    terminal.replace()


def pytest_keyboard_interrupt(excinfo):
    sys.stderr.write("%s\n" % excinfo.exconly())


# -- the loop --------------------------------------------------------------------------------


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session):
    ids = collection.identify(session.items)
    if zygote:
        unwatch_environ()
        announcer.announce(ids, session.items)
        control.send({"ready": about(session)})
    gc.freeze()  # what was collected stays, and shared between forks
    if gc.get_threshold()[0] == 0:
        gc.set_threshold(*gc_threshold)
    if not zygote:
        run_slot(session, order["slot"])
        return True
    spec = zygote.serve(session)
    if spec is not None:
        node.set_environment(spec)
        node.become_worker(session.config, spec)
        worker = node.configure_node(session.config, control)
        node.move_basetemp(session.config, spec)
        coverage.start(session.config)
        run_slot(session, spec)
        if worker:
            node.node_down(worker, control)
    return True


def about(session):
    return {
        "python": "%d.%d.%d" % sys.version_info[:3],
        "pytest": pytest.__version__,
        "rootdir": printable(str(session.config.rootpath)),
        "deselected": collection.deselected,
    }


def run_slot(session, spec):
    Slot(session, collection.items, outcome, control, spec).run()


@pytest.hookimpl(hookwrapper=True, tryfirst=True)
def pytest_runtest_call():
    """A child that a test forks and forgets to end must not go on as if it were this worker."""
    pid = getpid()
    call = yield
    if getpid() != pid:
        if call.excinfo:
            traceback.print_exception(*call.excinfo)
        sys.stdout.flush()
        sys.stderr.flush()
        _exit(1 if call.excinfo else 0)


# -- the end ---------------------------------------------------------------------------------


@pytest.hookimpl(hookwrapper=True, tryfirst=True)
def pytest_sessionfinish(session):
    finish = yield
    if finish.excinfo and collection.ended:
        text = "".join(traceback.format_exception(*finish.excinfo))
        why = first_line(str(finish.excinfo[1]))
        control.problem("teardown", None, "pytest_sessionfinish failed: " + why, text)
        finish.force_result([])
    if not hasattr(session.config, "workerinput"):
        coverage.tell(session.config, control)
    if collection.ended:  # tests that fail are no failure of ours
        session.exitstatus = 0


@pytest.hookimpl(hookwrapper=True, trylast=True)
def pytest_unconfigure():
    yield
    waiting = [
        thread.name for thread in threading.enumerate()
        if thread is not threading.main_thread() and not thread.daemon
    ]
    control.send({"bye": {"threads": waiting}})
    if collection.ended:  # else the exit code matters
        atexit.register(leave_quickly)
