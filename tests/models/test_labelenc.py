"""LabelEnc's graph: which gradient reaches which part, with the detectors of the package."""

import dataclasses
import functools

import keras
import numpy as np
import pytest

from kerastransfer.codecs.retinanet import retinanet_codec
from kerastransfer.codecs.yolov1 import YoloV1Codec
from kerastransfer.encoders.yolov1 import POOL, yolov1_encoder
from kerastransfer.errors import UserError
from kerastransfer.losses import faster_rcnn as faster_rcnn_losses
from kerastransfer.losses import retinanet as retinanet_losses
from kerastransfer.losses import yolov1 as yolov1_losses
from kerastransfer.models import faster_rcnn, labelenc
from kerastransfer.models.parts import freeze
from kerastransfer.models.retinanet import LEVELS, retinanet
from kerastransfer.models.yolov1 import yolov1
from kerastransfer.training import checkpoint, optimizers
from kerastransfer.training.terms import TermModel

SIDE, CLASSES = 64, 2
BATCH = {
    "image": np.random.default_rng(0).uniform(0, 255, (2, SIDE, SIDE, 3)).astype("float32"),
    "boxes": np.float32([[[0.1, 0.2, 0.6, 0.8], [0.3, 0.1, 0.9, 0.5]], [[0.2, 0.2, 0.9, 0.9], [0, 0, 0, 0]]]),
    "labels": np.int32([[1, 0], [1, -1]]),
}


def pyramid():
    """A narrow RetinaNet, its loss and the weights of its terms."""
    codec = retinanet_codec(CLASSES, LEVELS)
    encoder = yolov1_encoder(tuple(((filters, 3, 2),) for filters in (4, 5, 6, 7, 8)))
    return retinanet(encoder, codec, channels=8, towers=1), retinanet_losses.retinanet_loss(codec)


def grid():
    """A narrow YOLOv1, which has no neck."""
    codec = YoloV1Codec(CLASSES, 1, sizes="root", score="product")
    encoder = yolov1_encoder((((4, 3, 2),), (POOL,), ((6, 3, 2),), ((8, 3),), ((8, 3, 2),)))
    return yolov1(encoder, codec), yolov1_losses.yolov1_loss(codec, "giou")


def gradients(graph, terms, chosen, parts=None):
    """Names of the parts, PARTS unless they are given, that the gradient of the chosen terms reaches."""
    import tensorflow as tf

    with tf.GradientTape() as tape:
        values = terms(BATCH, graph(BATCH, training=True))
        total = 0.0
        for name in chosen(values):
            value = values[name]
            total = total + tf.reduce_sum(value[0] if isinstance(value, tuple) else value)
    found = set()
    parts = parts or PARTS
    weights = {part: graph.get_layer(part).trainable_weights for part in parts}
    flat = [weight.value for part in parts for weight in weights[part]]
    slopes = iter(tape.gradient(total, flat))
    for part in parts:
        if any(slope is not None and np.asarray(slope).any() for slope in [next(slopes) for _ in weights[part]]):
            found.add(part)
    return found


PARTS = ("encoder", "decoder", "head", "adaption", "label_network")


@functools.cache
def built():
    keras.utils.set_random_seed(0)
    detector, loss = pyramid()
    network = labelenc.label_network(detector, CLASSES)
    graph = labelenc.trainer(detector, network, reconstruct=True, seed=0)
    return detector, network, graph, labelenc.labelenc_terms(loss, reconstruct=True)


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        (lambda name: name.startswith("codes_"), {"label_network", "head"}),
        (lambda name: name in ("classes", "boxes"), {"encoder", "decoder", "head"}),
        (lambda name: name == "distance", {"encoder", "decoder", "adaption"}),
    ],
    ids=["from codes", "from the image", "distance"],
)
def test_gradients_reach_the_parts_of_the_paper(chosen, expected):
    _, _, graph, terms = built()
    assert gradients(graph, terms, lambda values: filter(chosen, values)) == expected


def test_the_detector_itself_is_what_is_trained():
    """It shares its parts with the graph, and nothing is added to it."""
    detector, network, graph, _ = built()
    for part in ("encoder", "decoder", "head"):
        assert graph.get_layer(part) is detector.get_layer(part)
    outputs = graph(BATCH)
    raw = labelenc.raw_of(outputs)
    assert raw.keys() == detector.output.keys() == labelenc.raw_of(outputs, labelenc.CODES).keys()
    for name, value in detector(BATCH["image"]).items():
        np.testing.assert_allclose(np.asarray(raw[name]), np.asarray(value), rtol=1e-5, atol=1e-6)
    assert {layer.name for layer in network.layers} >= {"label_encoder", "label_decoder"}
    assert not {layer.name for layer in detector.layers} & {"label_network", "adaption", "label_map"}


def test_the_label_decoder_starts_anew():
    detector, network, *_ = built()
    kernels = [
        part.get_layer("p3").get_weights()[0]
        for part in (detector.get_layer("decoder"), network.get_layer("label_decoder"))
    ]
    assert kernels[0].shape == kernels[1].shape and not np.array_equal(*kernels)


@pytest.mark.slow
def test_the_adaption_rests_while_the_distance_does_not_count():
    """Neither by gradients nor by weight decay; then it moves."""
    keras.utils.set_random_seed(0)
    detector, loss = pyramid()
    network = labelenc.label_network(detector, CLASSES)
    graph = labelenc.trainer(detector, network, reconstruct=True, seed=0)
    weights = dict.fromkeys(retinanet_losses.WEIGHTS, 1.0)
    warmup = labelenc.Warmup(2)
    weights |= {f"codes_{name}": 1.0 for name in weights} | {"distance": warmup.weight}
    model = TermModel(
        graph, labelenc.labelenc_terms(loss, reconstruct=True), weights, resting={"adaption": warmup.resting}
    )
    model.compile(optimizers.OPTIMIZERS["adamw"](weight_decay=0.1).build(1e-2, 0.0))
    adaption = graph.get_layer("adaption")
    start, moved = adaption.get_weights(), []
    for _ in range(3):
        model.train_on_batch(BATCH, {name: BATCH[name] for name in ("boxes", "labels")})
        moved.append(any(not np.array_equal(*pair) for pair in zip(start, adaption.get_weights(), strict=True)))
    assert moved == [False, False, True]


def learning(schedule):
    """A model of step 1 with `Warmup`, or of step 2 with `SwitchedOff`."""
    keras.utils.set_random_seed(0)
    detector, loss = pyramid()
    network = labelenc.label_network(detector, CLASSES)
    first = isinstance(schedule, labelenc.Warmup)
    if not first:
        freeze(network)
    graph = labelenc.trainer(detector, network, reconstruct=first, seed=0)
    weights = dict.fromkeys(retinanet_losses.WEIGHTS, 1.0)
    weights |= {f"codes_{name}": 1.0 for name in weights} if first else {}
    model = TermModel(
        graph,
        labelenc.labelenc_terms(loss, reconstruct=first),
        {**weights, "distance": schedule.weight},
        resting={"adaption": schedule.resting} if first else {},
    )
    # Eager, because a graph takes longer to trace than to run.
    model.compile(optimizers.OPTIMIZERS["adamw"](weight_decay=0.1).build(1e-2, 0.0), run_eagerly=True)
    return model


def steps(model, count):
    for _ in range(count):
        model.train_on_batch(BATCH, {name: BATCH[name] for name in ("boxes", "labels")})
    return [np.array(one) for one in (*model.network.variables, *model.optimizer.variables)]


@pytest.mark.slow
@pytest.mark.parametrize("schedule", [labelenc.Warmup(2), labelenc.SwitchedOff(2)], ids=["warm-up", "switched off"])
def test_schedules_go_on_where_a_run_was_killed(schedule, tmp_path):
    """Killed before the schedule's end, the weights end as they would have, to the bit. One that counted from the step
    of the kill would last a step longer."""
    whole = steps(learning(schedule), 4)
    killed = learning(schedule)
    steps(killed, 1)
    checkpoint.save(tmp_path / "run.npz", killed, {})
    ends = []
    for each in (schedule, dataclasses.replace(schedule, steps=1 + schedule.steps)):
        resumed = learning(each)
        checkpoint.restore(tmp_path / "run.npz", resumed)
        ends.append(steps(resumed, 3))
    same = [[np.array_equal(*pair) for pair in zip(end, whole, strict=True)] for end in ends]
    assert all(same[0]) and not all(same[1])


def test_schedules_count_steps():
    warmup, off = labelenc.Warmup(10), labelenc.SwitchedOff(80)
    assert [float(warmup.weight(step)) for step in (0, 9, 10, 99)] == [0, 0, 1, 1]
    assert [bool(warmup.resting(step)) for step in (0, 9, 10)] == [True, True, False]
    assert [float(off.weight(step)) for step in (0, 79, 80, 90)] == [1, 1, 0, 0]


@pytest.mark.slow
def test_a_detector_without_a_neck():
    detector, loss = grid()
    network = labelenc.label_network(detector, CLASSES)
    graph = labelenc.trainer(detector, network, reconstruct=True)
    terms = labelenc.labelenc_terms(loss, reconstruct=True)(BATCH, graph(BATCH))
    assert set(terms) == {name for own in yolov1_losses.WEIGHTS for name in (own, f"codes_{own}")} | {"distance"}
    assert all(np.isfinite(np.asarray(value)).all() for value in terms.values())


def test_a_decoder_that_reads_from_inside_the_encoder():
    image = keras.Input((None, None, 3))
    x = keras.layers.Conv2D(4, 3, 8, padding="same")(image)
    encoder = keras.Model(image, {"c3": x, "section_7": x}, name="encoder")
    inside = keras.Input((None, None, 4), name="section_7")
    decoder = keras.Model({"section_7": inside}, {"p3": inside}, name="decoder")
    detector = keras.Model(image, decoder({"section_7": encoder(image)["section_7"]}), name="net")
    with pytest.raises(UserError, match="the decoder of 'net' reads section_7 from inside its encoder"):
        labelenc.label_network(detector, CLASSES)


@pytest.mark.slow
def test_a_detector_of_two_stages():
    """What both stages say of the codes reaches the label encoder and all heads, and its first stage all codes."""
    codec = faster_rcnn.faster_rcnn_codec(CLASSES)
    encoder = yolov1_encoder(tuple(((filters, 3, 2),) for filters in (4, 5, 6, 7, 8)))
    detector = faster_rcnn.faster_rcnn(encoder, codec, channels=8, hidden=6, proposals=5)
    learner = faster_rcnn.learner(detector, codec, proposals=8, seed=0)
    network = labelenc.label_network(detector, CLASSES)
    graph = labelenc.trainer(detector, network, reconstruct=True, reading=learner, seed=0)
    terms = labelenc.labelenc_terms(faster_rcnn_losses.faster_rcnn_loss(codec), reconstruct=True)
    parts = (*PARTS, "branch")
    own = {"encoder", "decoder", "head", "branch"}
    found = gradients(
        graph, terms, lambda values: [name for name in values if name in faster_rcnn_losses.WEIGHTS], parts
    )
    assert found == own
    codes = gradients(graph, terms, lambda values: [name for name in values if name.startswith(labelenc.CODES)], parts)
    assert codes == {"label_network", "head", "branch"}
    assert gradients(graph, terms, lambda _: ["distance"], parts) == {"encoder", "decoder", "adaption"}


@pytest.mark.slow
def test_a_teacher_has_parts_of_the_same_names():
    """They are frozen, and those of the detector learn at their own rate."""
    (detector, loss), (teacher, _) = pyramid(), pyramid()
    graph = labelenc.distiller(detector, teacher)
    terms = labelenc.labelenc_terms(loss, reconstruct=False)
    weights = {**retinanet_losses.WEIGHTS, "distance": 1.0}
    model = TermModel(graph, terms, weights, rates={"encoder": 0.5})
    model.compile(optimizers.AdamW().build(1e-2))
    parts = (detector.get_layer("encoder"), teacher)
    before = [[weight.copy() for weight in part.get_weights()] for part in parts]
    model.train_on_batch(BATCH["image"], {name: BATCH[name] for name in ("boxes", "labels")})
    moved = [
        any(not np.array_equal(*pair) for pair in zip(old, part.get_weights(), strict=True))
        for old, part in zip(before, parts, strict=True)
    ]
    assert moved == [True, False]
