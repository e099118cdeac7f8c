"""The stacks of all threads, printed on a signal from the host or at a crash."""
import faulthandler
import os
import signal
import sys

DUMP_SIGNAL = int(signal.SIGRTMIN) + 5


def enable(stderr, config):
    faulthandler.enable(file=stderr)
    faulthandler.register(DUMP_SIGNAL, file=stderr, all_threads=True, chain=False)
    # pytest's faulthandler_timeout writes to a duplicate it made of the zygote's stderr.
    module = sys.modules.get("_pytest.faulthandler")
    for name in ("fault_handler_stderr_fd_key", "fault_handler_stderr_key"):
        target = config.stash.get(getattr(module, name, None), None)
        if target is not None:
            os.dup2(stderr, target if isinstance(target, int) else target.fileno(), False)
