"""The reports of one test, folded into the result that the host gets."""
import re
import traceback

from runner_worker.text import clip, first_line

REASON_LIMIT = 4000


def describe(item, info):
    """The text of an exception that no report holds."""
    try:
        return str(item.repr_failure(info))
    except BaseException:
        return "".join(traceback.format_exception(info.type, info.value, info.tb))


def without(prefix, text):
    return text[len(prefix) :] if text.startswith(prefix) else text


class Outcome:
    """A plug-in of pytest: keeps the reports of the test that runs."""

    def __init__(self):
        self.clear()

    def clear(self):
        self.reports = []
        self.error_types = {}

    def pytest_runtest_logreport(self, report):
        self.reports.append(report)

    def pytest_exception_interact(self, call, report):
        if call.excinfo is not None:
            self.error_types[id(report)] = call.excinfo.typename

    def passed_plainly(self):
        """Nothing to tell but how long the three phases took."""
        reports = self.reports
        return (
            len(reports) == 3
            and reports[0].outcome == reports[1].outcome == reports[2].outcome == "passed"
            and not reports[2].sections
            and not hasattr(reports[1], "wasxfail")
        )

    def failure(self, report):
        """(message, type) of a failed report."""
        crash = getattr(report.longrepr, "reprcrash", None)
        message = first_line(crash.message if crash is not None else report.longreprtext)
        kind = self.error_types.get(id(report))
        if kind is None:
            match = re.match(r"[A-Za-z_][\w.]*(?=:|$)", message)
            kind = match.group().rpartition(".")[2] if match and crash is not None else "Failed"
        return (message if report.when == "call" else "%s: %s" % (report.when, message)), kind

    @staticmethod
    def skip_reason(report):
        if isinstance(report.longrepr, tuple):
            reason = report.longrepr[2]
        else:
            reason = first_line(report.longreprtext)
        return clip(without("Skipped: ", reason), REASON_LIMIT)

    def result(self):
        phases, failures, last = {}, [], None
        result = {"status": "passed"}
        for report in self.reports:
            if report.outcome == "rerun":  # pytest-rerunfailures starts the test again
                phases, failures, result = {}, [], {"status": "passed"}
                continue
            last = report
            phases[report.when] = report.duration
            xfail = getattr(report, "wasxfail", None)
            if report.failed:
                failures.append(report)
            elif report.skipped and xfail is not None:
                result = {"status": "skipped", "xfail": True, "reason": without("reason: ", xfail)}
            elif report.skipped:
                result = {"status": "skipped", "reason": self.skip_reason(report)}
            elif xfail is not None and report.when == "call":
                reason = "passed, though marked xfail: %s" % without("reason: ", xfail)
                result["reason"] = reason
        if failures:
            message, kind = self.failure(failures[0])
            trace = "\n\n".join(report.longreprtext for report in failures)
            result = {"status": "failed", "message": message, "type": kind, "trace": clip(trace)}
        elif last is None:
            result = {"status": "failed", "message": "pytest reported nothing for this test"}
        if last is not None and last.sections:
            result["sections"] = [
                [title, clip(text)]
                for title, text in last.sections
                if text and not title.startswith(("Captured stdout", "Captured stderr"))
            ]
        result.update(phases=phases, duration=sum(phases.values()))
        return result
