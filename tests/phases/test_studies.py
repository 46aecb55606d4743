"""Studies in a run: what is kept of them, what is left out, and claims over several seeds."""

import dataclasses
import types
from typing import ClassVar

import numpy as np
import pytest
from scipy import stats

from kerastransfer.analysis import studies as table
from kerastransfer.analysis.findings import Claim, Findings, LeftOut
from kerastransfer.analysis.material import Classified, Features
from kerastransfer.errors import UserError
from kerastransfer.phases import studies
from kerastransfer.report import figures
from kerastransfer.report.page import Estimate, Figure, Table
from kerastransfer.runs import settings
from kerastransfer.runs.data import load_data
from kerastransfer.runs.folder import RunFolder
from kerastransfer.runs.outcome import Outcome


@dataclasses.dataclass
class Settings:
    """Settings of a made-up study."""

    gain: float = 0.5


def findings(given, material, progress):
    estimate = Estimate(given.gain, given.gain - 1, given.gain + 1)
    return Findings(
        "Gains",
        ["A sentence."],
        {"a": {"gain": given.gain, "nothing": np.nan}, "b": {"gain": 0.0}},
        [Table(["gain", "remark"], [("a", [estimate, "fine"]), ("b", [None, None])], "All gains", "model")],
        [
            (
                "gains",
                Figure("Gains of both", "A caption.", b"", chart=True),
                figures.bars({"a": [1.0]}, ["x"], y="gain"),
            )
        ],
        [Claim("It gains.", "a minus b", estimate)],
    )


def refusing(given, material, progress):
    raise LeftOut("there is nothing to see")


@pytest.fixture
def made_up(monkeypatch):
    """Two studies in the table: one that counts how often it is made, and one that cannot be."""
    calls = []

    def counting(*arguments):
        calls.append(arguments)
        return findings(*arguments)

    def module(title, study):
        return types.SimpleNamespace(TITLE=title, NEEDS=Features, Settings=Settings, study=study)

    monkeypatch.setattr(table, "STUDIES", {"gains": module("Gains", counting), "losses": module("Losses", refusing)})
    return calls


@dataclasses.dataclass
class Config(settings.CommonConfig):
    """The flags of a page that makes them."""

    study: tuple[str, ...] = ()
    """Studies to make."""
    gains: Settings = None
    """Settings of the study gains."""
    losses: Settings = None
    """Settings of the study losses."""
    CHOSEN: ClassVar = {name: ("data", lambda data: Settings) for name in ("gains", "losses")}


def run(folder, gain=0.5, study=(), resume=False):
    """The outcome of a run in which the studies are made of features that are not looked at."""
    config = Config("toy:10", output=str(folder), quiet=True, resume=resume, study=study, gains=Settings(gain))
    with RunFolder("page", config) as inner:
        outcome = Outcome(config, inner, load_data(config, "boxes"))
        studies.make(config, {Features: lambda: "features", Classified: "there are no classifiers"}, inner, outcome)
    return outcome


def test_every_study_has_its_settings_among_the_flags():
    fields = {field.name: field.type for field in dataclasses.fields(studies.StudiesConfig)}
    for name, module in table.STUDIES.items():
        assert module.Settings in getattr(fields[name], "__args__", (fields[name],)), name
        assert name in studies.StudiesConfig.CHOSEN, name


def test_what_is_found_is_kept_for_report_and_files(made_up, tmp_path):
    outcome = run(tmp_path / "run")
    section, other = outcome.sections
    assert (section.title, section.text) == ("Gains", ["A sentence."])
    (rows,) = [one.rows for one in section.tables]
    assert rows[0] == ("a", [Estimate(0.5, -0.5, 1.5), "fine"])
    assert section.figures[0].image == tmp_path / "run/figures/gains.png" and section.figures[0].image.exists()
    assert outcome.models["a"].metrics["gains/gain"] == 0.5 and np.isnan(outcome.models["a"].metrics["gains/nothing"])
    assert other.title == "Losses" and other.text == ["Left out: there is nothing to see."]


def test_a_study_is_made_once(made_up, tmp_path):
    first, again = run(tmp_path / "run"), run(tmp_path / "run", resume=True)
    assert len(made_up) == 1
    assert again.sections == first.sections
    assert studies.summary([again]) == studies.summary([first])


def test_what_is_asked_for_by_name_is_not_left_out(made_up, tmp_path):
    with pytest.raises(UserError, match="--study losses: there is nothing to see"):
        run(tmp_path / "run", study=("losses",))


def test_claims_over_seeds_are_judged_by_their_spread(made_up, tmp_path):
    gains = [0.2, 0.3, 0.4]
    outcomes = [run(tmp_path / f"seed{seed}", gain) for seed, gain in enumerate(gains)]
    ((name, (measured, difference, verdict)),) = studies.summary(outcomes).tables[0].rows
    assert (name, measured, verdict) == ("It gains.", "a minus b", "held")
    half = stats.t.ppf(0.975, 2) * np.std(gains, ddof=1) / np.sqrt(3)
    assert difference.value == pytest.approx(0.3)
    assert (difference.low, difference.high) == pytest.approx((0.3 - half, 0.3 + half))
    # One seed alone has the interval of its own images, which includes zero.
    ((_, (_, _, verdict)),) = studies.summary(outcomes[:1]).tables[0].rows
    assert verdict == "undecided"


@pytest.mark.parametrize(
    ("low", "high", "held"), [(0.1, 0.3, True), (-0.3, 0.0, False), (-0.1, 0.3, None), (None, None, None)]
)
def test_verdict(low, high, held):
    assert Claim("", "", Estimate(0.1, low, high)).held is held
