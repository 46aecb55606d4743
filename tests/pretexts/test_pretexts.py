"""Every pretext: what it needs and keeps, that a step trains its encoder, and that its settings are checked."""

import dataclasses

import keras
import numpy as np
import pytest

from kerastransfer import pretexts
from kerastransfer.data import decoded, derive
from kerastransfer.data.pipeline import training_batches
from kerastransfer.data.toy import toy
from kerastransfer.data.transforms import Augmentation
from kerastransfer.data.views import augmented
from kerastransfer.encoders.unet import unet_encoder
from kerastransfer.errors import UserError
from kerastransfer.pretexts import PRETEXTS
from kerastransfer.training import transfer
from kerastransfer.training.terms import TermModel

SIZE = (32, 32)


def built(name, **options):
    module, data = PRETEXTS[name], derive.require(toy(count=6), "label")
    return module.build(module.Settings(**options), unet_encoder(4, 3), data), data


def batches(name, pretext, data):
    given = decoded.decode(data, PRETEXTS[name].FIELDS, SIZE)
    view = (pretext.view or augmented)(Augmentation())
    return training_batches(given, view=view, size=SIZE, batch_size=4, seed=0)


@pytest.mark.slow
@pytest.mark.parametrize("name", PRETEXTS)
def test_a_step_trains_the_encoder_and_only_a_decoder_that_there_is(name):
    keras.utils.set_random_seed(0)
    pretext, data = built(name)
    parts = [layer.name for layer in pretext.network.layers]
    assert "encoder" in parts
    decoder = pretext.network.get_layer("decoder") if "decoder" in parts else None
    assert (decoder is not None and "joined" in decoder.output) == PRETEXTS[name].DECODER
    encoder = pretext.network.get_layer("encoder")
    before = transfer.weights(encoder)
    model = TermModel(pretext.trained, pretext.terms, pretext.weights)
    model.compile("adam")
    history = model.fit(batches(name, pretext, data), steps_per_epoch=2, shuffle=False, verbose=0).history
    assert history.keys() == {"loss", *pretext.weights} and np.isfinite(history["loss"]).all()
    moved = transfer.compared(before, transfer.weights(encoder))["moved"]
    # Not the means and variances alone.
    assert len([weight for weight in moved if weight.endswith("kernel")]) == 6
    weighted = sum(weight * history[term][0] for term, weight in pretext.weights.items())
    assert history["loss"][0] == pytest.approx(weighted, rel=1e-3)


def test_decoding_tasks_share_a_weight_of_100():
    for name, tasks in (("reconstruction", 1), ("conrec_one", 1), ("conrec", 4)):
        pretext, _ = built(name)
        weights = {term: weight for term, weight in pretext.weights.items() if term in pretext.shown}
        assert len(weights) == tasks and sum(weights.values()) == 100
    assert built("simclr")[0].shown == ()


def test_views_are_altered_only_where_something_is_to_be_restored():
    for name, altered in (("simclr", False), ("reconstruction", True)):
        pretext, data = built(name)
        inputs, targets = next(iter(batches(name, pretext, data)))
        assert ("first_altered" in targets) == altered
        assert np.array_equal(inputs["first"], targets["first"]) != altered
    pretext, data = built("reconstruction", colours=0.0)
    _, targets = next(iter(batches("reconstruction", pretext, data)))
    np.testing.assert_array_equal(targets["first"], targets["first_colours"])


def test_every_pretext_is_in_the_table_with_what_it_needs():
    for name, module in PRETEXTS.items():
        assert dataclasses.is_dataclass(module.Settings) and module.__doc__
        assert pretexts.settings_of(name) is module.Settings
        assert set(module.FIELDS) <= {"boxes", "label", "segmentation"}
    with pytest.raises(UserError, match=r"unknown --pretext simcrl; choose .*\(nearest: simclr\)"):
        pretexts.pretext("simcrl")


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("simclr", {"temperature": 0.0}, "--task.temperature is 0.0; it must be above 0"),
        ("conrec", {"colours": -1.0}, "--task.colours is -1.0"),
        ("segmentation", {"dice": -1.0}, "--task.dice is -1.0"),
        ("classification", {"smoothing": 1.0}, "--task.smoothing is 1.0"),
        ("detection", {"reach": -0.5}, "--task.reach is -0.5"),
    ],
)
def test_settings_are_checked(name, options, words):
    with pytest.raises(UserError, match=words):
        PRETEXTS[name].Settings(**options)


def test_pictures_of_views_of_any_kind():
    """Of two views, and of a single image."""
    from kerastransfer.phases.pretext_views import _draw
    from kerastransfer.report.pictures import TILE

    for name, columns in (("simclr", 2), ("conrec", 8)):
        pretext, data = built(name)
        inputs, targets = next(iter(batches(name, pretext, data)))
        drawn = _draw(pretext, inputs, targets)
        assert columns - 1 < drawn.width / (TILE // 2) < 2 * columns + 1
    images = np.zeros((6, 32, 32, 3), "float32")
    assert _draw(pretext, images, {}).height < TILE
