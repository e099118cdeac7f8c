"""What pytest collected, told to the host."""
import os

import pytest

from runner_worker.text import first_line, printable

UNNAMED_MARKERS = ("parametrize", "usefixtures", "filterwarnings")
TESTS_PER_LINE = 400


class Collection:
    """A plug-in of pytest that follows the collection."""

    def __init__(self):
        self.order = {}
        self.deselected = 0
        self.items = {}  # by id
        self.ended = False  # well: pytest_collection_finish is called either way

    @pytest.hookimpl(hookwrapper=True, tryfirst=True)
    def pytest_make_collect_report(self, collector):
        # A module that exits when it is imported fails, alone, as with pytest 7. Newer ones end.
        outcome = yield
        if outcome.excinfo and issubclass(outcome.excinfo[0], SystemExit):
            trace = collector.repr_failure(pytest.ExceptionInfo.from_exc_info(outcome.excinfo))
            report = pytest.CollectReport(collector.nodeid, "failed", trace, [])
            outcome.force_result(report)

    @pytest.hookimpl(hookwrapper=True, tryfirst=True)
    def pytest_collection_modifyitems(self, items):
        # Duplicate ids are numbered in the order of collection, whatever a plug-in shuffles.
        self.order = {item: number for number, item in enumerate(items)}
        yield

    def pytest_deselected(self, items):
        self.deselected += len(items)

    def identify(self, items):
        """The id of each item, in the order of the items: its nodeid, with a number from the
        second of its name on."""
        self.ended = True
        order, counts = self.order, {}
        ids = [""] * len(items)
        for place in sorted(range(len(items)), key=lambda n: order.get(items[n], len(order))):
            nodeid = test_id = printable(items[place].nodeid)
            number = counts.get(nodeid, 1)
            while test_id in self.items:
                number += 1
                test_id = "%s#%d" % (nodeid, number)
            counts[nodeid] = number
            self.items[test_id] = items[place]
            ids[place] = test_id
        return ids


class Announcer:
    """The zygote's plug-in: what fails to be collected is told at once, the tests at the end."""

    def __init__(self, control):
        self.control = control

    def pytest_collectreport(self, report):
        if report.passed:
            return
        if report.skipped:
            reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else ""
            text = "%s: skipped as a whole: %s" % (report.nodeid, first_line(reason))
            self.control.log("info", text)
            return
        text = report.longreprtext
        blamed = [line[1:].strip() for line in text.splitlines() if line.startswith("E ")]
        message = blamed[-1] if blamed else first_line(text)
        self.control.problem("collection", report.nodeid, message, text)

    def announce(self, ids, items):
        """Every test, in the order pytest would run them, some hundred a line."""
        start, files, rows = os.getcwd(), {}, []
        for test_id, item in zip(ids, items):
            path = getattr(item, "path", None)
            if path not in files:
                files[path] = printable(os.path.relpath(str(path), start)) if path else ""
            line, location = 0, item.location
            base, _, name = item.nodeid.partition("::")
            if location[1] is not None and location[0] == base:
                line = location[1] + 1
            tags = dict.fromkeys(
                mark.name for mark in item.iter_markers() if mark.name not in UNNAMED_MARKERS
            )
            rows.append([test_id, name or item.name, files[path], line, list(tags)])
            if len(rows) == TESTS_PER_LINE:
                self.control.send({"tests": rows})
                rows = []
        if rows:
            self.control.send({"tests": rows})
