"""pytest-cov, which knows controllers and xdist's workers: the zygote is the one, a slot (or the
process of one test) the other."""
import os

from runner_worker.text import clip


class Lines:
    """A terminal reporter that keeps the text."""

    text = ""

    def write(self, text, **markup):
        self.text += text

    def write_sep(self, sep, title="", **markup):
        self.text += "%s %s %s\n" % (sep * 5, title, sep * 5)


def measuring_plugin(config):
    plugin = config.pluginmanager.get_plugin("_cov")
    if plugin is None or getattr(plugin, "_disabled", False):
        return None
    return plugin if plugin.cov_controller is not None else None


def stop(config):
    """End measuring as a controller, which a fresh worker's pytest-cov began before it could
    know better."""
    controller = getattr(config.pluginmanager.get_plugin("_cov"), "cov_controller", None)
    if controller is not None:
        controller.cov.stop()


def start(config):
    """In a fork: leave the inherited measurement to the zygote, begin one that ends in a data
    file of our own, as an xdist worker's does; the zygote combines them."""
    plugin = measuring_plugin(config)
    if plugin is None:
        return
    from pytest_cov import engine

    plugin.cov_controller.cov.stop()
    plugin.pid = os.getpid()
    plugin.start(engine.DistWorker, config, config.workerinput["workerid"])
    measuring = plugin.cov_controller.cov
    for kind in ("no_data", "unimported_source", "preimported_source"):  # nothing to warn of
        setattr(measuring, "_warn_" + kind, False)
    contexts = config.pluginmanager.get_plugin("_cov_contexts")
    if hasattr(contexts, "cov_controller"):
        contexts.cov_controller = plugin.cov_controller
    if hasattr(contexts, "cov"):
        contexts.cov = measuring


def finish(config):
    plugin = measuring_plugin(config)
    if plugin is not None:
        plugin.cov_controller.finish()


def tell(config, control):
    """pytest-cov's report, which it would have written to the terminal."""
    plugin = measuring_plugin(config)
    if plugin is None or plugin.cov_total is None:
        return
    lines = Lines()
    plugin.pytest_terminal_summary(lines)
    wanted = plugin.options.cov_fail_under
    short = wanted is not None and plugin.cov_total < wanted
    control.send({"coverage": clip(lines.text.strip("\n")), "short": short})
