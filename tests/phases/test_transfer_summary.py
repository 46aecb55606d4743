"""The verdict of a comparison: masks saved by hand, tests corrected for their number, and words for one seed."""

import numpy as np
import pytest

from kerastransfer.phases import transfer_summary
from kerastransfer.phases.transfer_summary import saved, tables, verdict

CURVE = {8: 0.5, 32: 0.7, 128: 0.8}


@pytest.mark.parametrize(
    ("reached", "count", "wanted"),
    [
        # Halfway between 8 and 32 on a logarithmic scale.
        (0.6, 8, 8),
        (0.7, 8, 24),
        (0.5, 8, 0),
        (0.4, 32, 0),
        (0.9, 8, None),
    ],
)
def test_masks_saved(reached, count, wanted):
    assert saved(CURVE, reached, count) == (None if wanted is None else pytest.approx(wanted))


def test_a_dip_by_chance_is_not_undone():
    assert saved({8: 0.6, 32: 0.5, 128: 0.8}, 0.7, 8) == pytest.approx(64 - 8)


FOUND = {
    ("random", 8): [0.50, 0.52, 0.48],
    ("random", 32): [0.70, 0.71, 0.69],
    ("conrec", 8): [0.60, 0.63, 0.57],
    ("conrec", 32): [0.69, 0.72, 0.67],
}
STARTS, COUNTS, CONTROLS = ("random", "conrec"), (8, 32), {"conrec": "random"}


def test_the_verdict_names_the_best_and_how_sure_that_is():
    made = transfer_summary.claims(FOUND, [("conrec", "random")], COUNTS)
    assert [round(one.test.mean, 3) for one in made] == [0.1, -0.007]
    assert made[0].adjusted == pytest.approx(2 * made[0].test.p)
    first, second, third = verdict(FOUND, STARTS, COUNTS, CONTROLS, made)
    assert "With 8 labelled images, conrec is best: Dice 0.600, +10.0 points from random weights (random)" in first
    assert "is significant over 3 seeds" in first and "random weights need about 8 images more" in first
    assert second.startswith(
        "With 32 labelled images, random is best: Dice 0.700; of what was transferred, conrec is: 0.693, -0.7 points"
    )
    assert "is not significant over 3 seeds" in second and "need" not in second
    assert "chosen by the Dice of the test images" in third


def test_one_seed_makes_no_test():
    found = {key: values[:1] for key, values in FOUND.items()}
    made = transfer_summary.claims(found, [("conrec", "random")], COUNTS)
    assert all(np.isnan(one.test.p) for one in made)
    told = verdict(found, STARTS, COUNTS, CONTROLS, made)
    assert "no test was made; give several, such as --seeds 0 1 2" in told[-1]
    assert not any("significant" in sentence for sentence in told)
    assert [table.corner for table in tables(found, STARTS, COUNTS, made)] == ["start"]
    assert [table.corner for table in tables(FOUND, STARTS, COUNTS, made)] == ["start", "comparison"]
