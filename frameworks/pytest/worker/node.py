"""Being a worker, as plug-ins and projects know it from xdist: environment variables, workerinput,
the hooks around a node, a folder for temporary files."""
import json
import os
import socket
import sys
import traceback
from types import SimpleNamespace


def set_environment(spec):
    for name, value in (
        ("RUNNER_RUN_ID", spec["run"]), ("RUNNER_WORKER", str(spec["index"])),
        ("RUNNER_COMMAND", spec.get("tag")), ("PYTEST_XDIST_WORKER", "gw%d" % spec["index"]),
        ("PYTEST_XDIST_WORKER_COUNT", str(spec["count"])),
        ("PYTEST_XDIST_TESTRUNUID", spec["run"]),
    ):
        if value:
            os.environ[name] = value


def become_worker(config, spec):
    config.workerinput = dict(
        spec.get("workerinput") or {},
        workerid="gw%d" % spec["index"],
        workercount=spec["count"],
        testrunuid=spec["run"],
        mainargv=list(sys.argv),
        cov_master_host=socket.gethostname(),
        cov_master_topdir=os.getcwd(),
        cov_master_rsync_roots=[],
    )
    config.workeroutput = {}


# -- the hooks of xdist's controller ---------------------------------------------------------


def call_hook(config, name, **arguments):
    """Of all plug-ins but pytest-cov, whose part we play ourselves (see coverage)."""
    manager = config.pluginmanager
    measuring = manager.get_plugin("_cov")
    manager.subset_hook_caller(name, [measuring] if measuring else [])(**arguments)


def configure_node(config, control):
    """What projects hand from the controller to a worker. Returns the node, if anybody cares."""
    hook = getattr(config.hook, "pytest_configure_node", None)
    if hook is None or not hook.get_hookimpls():
        return None
    workerinput = config.workerinput
    gateway = SimpleNamespace(
        id=workerinput["workerid"], spec=SimpleNamespace(popen=True, chdir=None)
    )
    node = SimpleNamespace(
        config=config, gateway=gateway, workerinput=workerinput, workerinfo={},
        workeroutput=config.workeroutput, slaveinput=workerinput,
    )
    try:
        call_hook(config, "pytest_configure_node", node=node)
        return node
    except Exception:
        text = traceback.format_exc()
        control.problem("infrastructure", None, "pytest_configure_node failed", text)
        return None


def node_down(node, control):
    if not hasattr(node.config.hook, "pytest_testnodedown"):
        return
    try:
        call_hook(node.config, "pytest_testnodedown", node=node, error=None)
    except Exception:
        text = traceback.format_exc()
        control.problem("teardown", None, "pytest_testnodedown failed", text)


def template(config, control):
    """The workerinput of a worker without a name: what of it can be sent to another process."""

    def sendable(value):
        try:
            json.dumps(value)
            return True
        except (TypeError, ValueError):
            return False

    become_worker(config, {"index": 0, "count": 1, "run": ""})
    configure_node(config, control)
    workerinput = {key: value for key, value in config.workerinput.items() if sendable(value)}
    del config.workerinput, config.workeroutput
    return workerinput


# -- temporary files -------------------------------------------------------------------------


def run_basetemp(config):
    """The folder of the whole run; None without pytest's tmpdir plug-in."""
    factory = getattr(config, "_tmp_path_factory", None)
    return str(factory.getbasetemp()) if factory is not None else None


def own_folder(parent, spec):
    """A folder for this worker alone; never one an earlier process has used."""
    path = os.path.join(parent, "popen-gw%d" % spec["index"])
    return "%s-%d" % (path, os.getpid()) if os.path.exists(path) else path


def move_basetemp(config, spec):
    """In a fork: from the run's folder to one of our own."""
    factory = getattr(config, "_tmp_path_factory", None)
    if factory is None:
        return
    config.option.basetemp = own_folder(run_basetemp(config), spec)
    # In place: fixtures and the legacy factories hold this very object.
    factory.__dict__.update(type(factory).from_config(config, _ispytest=True).__dict__)
    if spec["isolation"] == "test":  # made once, not by each test's process
        factory.getbasetemp()
