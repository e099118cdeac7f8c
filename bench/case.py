"""What every case is made of: the rows it gives, the runs it compares."""

import shutil
from dataclasses import dataclass
from typing import Callable, Dict, List

import measure
from measure import Sample

MEGABYTE = 1024 * 1024


class Missing(Exception):
    """What a case needs and this machine lacks."""


def need(*programs: str) -> None:
    for program in programs:
        if not shutil.which(program):
            raise Missing(program)


@dataclass
class Row:
    case: str
    what: str
    ours: str
    theirs: str
    value: float  # what is compared with the goal: a ratio, or the figure itself
    goal: float
    unit: str = "×"
    at_least: bool = False

    @property
    def met(self) -> bool:
        return self.value >= self.goal if self.at_least else self.value <= self.goal


@dataclass
class Bench:
    """What every case gets."""

    runner: str
    folder: str
    repeat: int
    progress: Callable[[str], None]

    def run(self, config: str, env: Dict[str, str] = {}, watch=None) -> Sample:  # noqa: B006
        argv = [self.runner, "run", "-q", config]
        return measure.run(argv, self.folder, env, watch=watch)

    def compare(self, runs: Dict[str, Callable[[], Sample]]) -> Dict[str, List[Sample]]:
        return measure.side_by_side(runs, self.repeat, self.progress)


def wall_row(case: str, samples, ours: str, theirs: str, goal: float) -> Row:
    a, b = measure.median_wall(samples[ours]), measure.median_wall(samples[theirs])
    return Row(case, f"wall: {ours} / {theirs}", f"{a:.3f} s", f"{b:.3f} s", a / b, goal)


def cpu_row(case: str, samples, ours: str, theirs: str, goal: float) -> Row:
    a, b = measure.median_cpu(samples[ours]), measure.median_cpu(samples[theirs])
    return Row(case, f"CPU: {ours} / {theirs}", f"{a:.2f} s", f"{b:.2f} s", a / b, goal)
