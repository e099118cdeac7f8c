"""How a process of ours ends."""
import atexit
import os
import sys
import weakref


def reset_exit_handlers():
    """In a fork: exit handlers of the zygote's making are the zygote's to run, once."""
    atexit._clear()
    for finalizer in list(weakref.finalize._registry.values()):
        finalizer.atexit = False
    if weakref.finalize._registered_with_atexit:
        atexit.register(weakref.finalize._exitfunc)
    logging = sys.modules.get("logging")
    if logging:
        atexit.register(logging.shutdown)
    util = sys.modules.get("multiprocessing.util")
    if util:
        sys.modules["multiprocessing.process"]._children = set()
        util._finalizer_registry.clear()
        atexit.register(util._exit_function)


def leave_quickly():
    """The exit handler that runs first: it runs the others, and then nobody needs the
    interpreter taken apart."""
    atexit.unregister(leave_quickly)
    atexit._run_exitfuncs()
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except Exception:
        pass
    os._exit(0)
