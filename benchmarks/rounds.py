"""Contestants that take turns, each in its own process, so that changes in the machine's speed affect all equally.

A contestant is a script that prepares itself, prints a line of JSON, and then answers each line on its standard input,
a number of steps, with a line of JSON, {"seconds", "cpu_seconds", ...}, for these steps.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence

# Seconds between turns, long enough for threads that wait by spinning to go to sleep.
PAUSE = 0.3


class MissingError(Exception):
    """A contestant cannot take part; the message is the reason."""


def answer(prepare: Callable[[], tuple[dict, Callable[[int], dict | None]]]) -> None:
    """The main loop of a contestant. `prepare()` returns the first report, and a function that runs a number of steps
    and may return more to report."""
    # A library that prints must not write into the answers.
    out, sys.stdout = sys.stdout, sys.stderr
    try:
        first, run = prepare()
    except (ImportError, MissingError) as error:
        first, run = {"missing": " ".join(str(error).split())}, None
    print(json.dumps(first), file=out, flush=True)
    while run and (line := sys.stdin.readline()):
        started, cpu = time.perf_counter(), cpu_seconds()
        more = run(int(line)) or {}
        took = {"seconds": time.perf_counter() - started, "cpu_seconds": cpu_seconds() - cpu}
        print(json.dumps(took | more), file=out, flush=True)


def cpu_seconds() -> float:
    """CPU time of this process so far, over all its threads."""
    times = os.times()
    return times.user + times.system


class Contestant:
    """The other end of `answer`. Raises MissingError if the contestant lacks a package."""

    def __init__(self, *command: str):
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 (closed by `close`)
        self._process = subprocess.Popen(
            [sys.executable, *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2"},
            text=True,
        )
        self.first = self._read()
        if "missing" in self.first:
            self.close()
            raise MissingError(self.first["missing"])

    def turn(self, steps: int) -> dict:
        """Let it run `steps` steps while the others wait."""
        time.sleep(PAUSE)
        self._process.stdin.write(f"{steps}\n")
        self._process.stdin.flush()
        return self._read()

    def close(self) -> None:
        self._process.stdin.close()
        self._process.wait()
        self._errors.close()

    def _read(self):
        line = self._process.stdout.readline()
        if not line:
            self._errors.seek(0)
            raise RuntimeError(f"a contestant ended with an error:\n{self._errors.read()}")
        return json.loads(line)


def take_turns(contestants: Mapping[str, Contestant], rounds: int, steps: int) -> dict[str, list[dict]]:
    """The answers of each contestant for `rounds` turns of `steps` steps, after one to warm up. The order of the
    contestants is reversed in each round."""
    for contestant in contestants.values():
        contestant.turn(steps)
    turns = {name: [] for name in contestants}
    for number in range(rounds):
        for name in list(contestants)[:: 1 if number % 2 else -1]:
            turns[name].append(contestants[name].turn(steps))
    return turns


def compete(
    commands: Mapping[str, Sequence[str]],
    rounds: int,
    steps: int,
    left_out: Callable[[str, Exception], None] | None = None,
) -> dict[str, list[dict]]:
    """Start a process for each command, {name: its words}, let them `take_turns`, and end them.

    left_out: is called for each that lacks a package, with its name and the reason; without it, that is an error.
    """
    contestants = {}
    try:
        for name, command in commands.items():
            try:
                contestants[name] = Contestant(*command)
            except MissingError as reason:
                if left_out is None:
                    raise
                left_out(name, reason)
        return take_turns(contestants, rounds, steps)
    finally:
        for contestant in contestants.values():
            contestant.close()


def spread(values: Sequence[float], form: str = ".1f") -> str:
    """The median, and the smallest and largest value in parentheses."""
    return f"{statistics.median(values):{form}} ({min(values):{form}}-{max(values):{form}})"
