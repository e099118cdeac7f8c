"""What stands in for pytest's terminal report: the host has a report of its own."""
import sys


class Nowhere:
    """A file for the reporter's own text."""

    encoding = "utf-8"

    def write(self, text):
        return len(text)

    def flush(self):
        pass

    def isatty(self):
        return False


class Live(Nowhere):
    """A file for what plug-ins write through the reporter (live logs, a timeout's stacks)."""

    def write(self, text):
        return sys.stdout.write(text)

    def flush(self):
        sys.stdout.flush()


class QuietReporter:
    """A reporter's methods, none of its hooks."""

    def __init__(self, reporter):
        self._reporter = reporter

    def __getattr__(self, name):
        return getattr(self._reporter, name)


class Terminal:
    """pytest's reporter lives through the start of the session, silently: what it learns there
    its methods need later."""

    def __init__(self, manager):
        self.manager = manager
        self.reporter = manager.get_plugin("terminalreporter")
        self.writer = getattr(self.reporter, "_tw", None)

    def silence(self):
        if self.writer is not None:
            self.writer._file = Nowhere()

    def replace(self):
        if self.reporter is not None:
            self.manager.unregister(self.reporter)
            self.manager.register(QuietReporter(self.reporter), "terminalreporter")
        if self.writer is not None:
            self.writer._file = Live()
