"""Runs one test in this process."""
import os
import time
import traceback

import pytest

from runner_worker.control import encode
from runner_worker.results import describe
from runner_worker.text import clip, first_line


def run_item(outcome, token, item, nextitem):
    """Returns the line to send."""
    outcome.clear()
    if item._report_sections:  # of an earlier attempt
        item._report_sections.clear()
    failure = None
    cpu = time.process_time()
    try:
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=nextitem)
    except BaseException:
        failure = recover(item, nextitem)
    cpu = time.process_time() - cpu
    if failure is None and outcome.passed_plainly():
        line = passed_line(token, cpu, *(report.duration for report in outcome.reports))
    else:
        line = encode(dict(result(outcome, failure), done=token, cpu=cpu))
    outcome.clear()
    return line


def passed_line(token, cpu, setup, call, teardown):
    """What `encode` would make of it, without the cost: most tests pass."""
    return (
        b'{"done":%d,"status":"passed","duration":%.6f,"cpu":%.6f,'
        b'"phases":{"setup":%.6f,"call":%.6f,"teardown":%.6f}}\n'
        % (token, setup + call + teardown, cpu, setup, call, teardown)
    )


def result(outcome, failure):
    try:
        told = outcome.result()
    except Exception:  # a plug-in's report that is none
        told = {"status": "failed", "message": "the test's report could not be read",
                "trace": clip(traceback.format_exc())}
    if failure:
        traces = failure["trace"], told.get("trace")
        told.update(failure, trace=clip("\n\n".join(trace for trace in traces if trace)))
    return told


def recover(item, nextitem):
    """pytest.exit, KeyboardInterrupt or an error in a hook went through the protocol: the test
    failed; tear it down and go on."""
    info = pytest.ExceptionInfo.from_current()
    failure = {
        "status": "failed",
        "message": first_line(("%s: %s" % (info.typename, info.value)).rstrip(": ")),
        "type": info.typename,
        "trace": clip(describe(item, info)),
    }
    try:
        item.ihook.pytest_runtest_teardown(item=item, nextitem=nextitem)
    except BaseException:
        pass
    state = item.session._setupstate
    try:
        if item in state.stack:
            state.teardown_exact(nextitem)
    except BaseException:
        pass
    os.environ.pop("PYTEST_CURRENT_TEST", None)
    item.session.shouldstop = item.session.shouldfail = False
    return failure
