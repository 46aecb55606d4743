"""A run's outcome as report.html."""


def write(outcome) -> None:
    pass


def write_over_seeds(run, config, each, results) -> None:
    pass
