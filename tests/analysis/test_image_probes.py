"""Linear probes of whole images: pooling, the fit and its choice of strength, and the study of two models."""

import numpy as np
import pytest

from kerastransfer.analysis import image_probes, linear_classifier, scratch
from kerastransfer.analysis.findings import LeftOut
from kerastransfer.analysis.linear_classifier import Rows, Settings, adaptive_average, fitted, split
from kerastransfer.analysis.material import Features
from kerastransfer.errors import UserError

QUICK = Settings(strengths=(0.01, 0.1))


def points(images=120, classes=3, depth=6, spread=1.0, seed=0):
    """Features (N, D) float32 around a centre for each class, and labels (N,)."""
    random = np.random.default_rng(seed)
    labels = np.arange(images) % classes
    centres = random.normal(size=(classes, depth))
    return (centres[labels] + spread * random.normal(size=(images, depth))).astype("float32"), labels


def material(images=180, classes=3, side=4, depth=6, head=True, seed=0, **changes):
    """Two models of the same images. In the maps of both, what shows the class moves from image to image."""
    random = np.random.default_rng(seed)
    labels = np.arange(images) % classes
    found = {}
    for model, strength in (("detector", 1.5), ("classifier", 4.0)):
        maps = random.normal(size=(images, side, side, depth))
        maps[np.arange(images), random.integers(0, side, images), random.integers(0, side, images), labels] += (
            strength * side
        )
        found[model] = maps.astype("float16")
    pooled = {model: maps.mean(axis=(1, 2), dtype="float32") for model, maps in found.items()}
    heads = {}
    if head:
        proj = found["detector"]
        first = pooled["detector"] + random.normal(0, 0.2, pooled["detector"].shape)
        heads = {"proj": proj, "fc1": first, "fc2": first + random.normal(0, 2, first.shape)}
        heads = {name: values.astype("float16") for name, values in heads.items()}
    given = {
        "names": [f"{i:04d}" for i in range(images)],
        "images": np.zeros((images, 8, 8, 3), "uint8"),
        "maps": found,
        "pooled": pooled,
        "heads": {"detector": heads, "classifier": {}},
        "encoders": {},
        "labels": labels.astype("int32"),
        "classes": [f"class{i}" for i in range(classes + 2)],
        "train": np.arange(images) % 5 < 3,
        "boxes": None,
        "mean": np.zeros(3),
    }
    return Features(**{**given, **changes})


# Pooling


def looped(maps, size):
    """The definition, place by place: bins from floor(i h / s) up to ceil((i + 1) h / s)."""
    number, height, width, depth = maps.shape
    found = np.empty((number, size, size, depth))
    for i in range(size):
        rows = slice(int(np.floor(i * height / size)), int(np.ceil((i + 1) * height / size)))
        for j in range(size):
            columns = slice(int(np.floor(j * width / size)), int(np.ceil((j + 1) * width / size)))
            found[:, i, j] = maps[:, rows, columns].mean(axis=(1, 2))
    return found


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 7])
@pytest.mark.parametrize("shape", [(14, 14), (7, 10)])
def test_pooling_is_its_definition(shape, size):
    maps = np.random.default_rng(size).normal(size=(3, *shape, 2)).astype("float32")
    np.testing.assert_allclose(adaptive_average(maps, size), looped(maps, size), atol=1e-5)


def test_pooling_to_the_own_size_changes_nothing_and_in_blocks_neither(monkeypatch):
    maps = np.random.default_rng(0).normal(size=(5, 6, 6, 3)).astype("float32")
    np.testing.assert_array_equal(adaptive_average(maps, 6), maps)
    whole = adaptive_average(maps, 4)
    monkeypatch.setattr(scratch, "BLOCK", 2 * 6 * 6 * 3)
    np.testing.assert_allclose(adaptive_average(maps, 4), whole, atol=1e-6)
    with pytest.raises(ValueError, match="maps of 6 x 6 and a size of 7; give 1 to 6"):
        adaptive_average(maps, 7)


def test_bins_of_14_places_in_4_overlap():
    line = np.zeros((14, 14, 14, 1), "float32")
    line[np.arange(14), np.arange(14)] = 1
    used = adaptive_average(line, 4)[:, :, 0, 0].T > 0
    assert [(np.flatnonzero(row).min(), np.flatnonzero(row).max() + 1) for row in used] == [
        (0, 4),
        (3, 7),
        (7, 11),
        (10, 14),
    ]


def test_features_have_the_dimensions_of_the_paper():
    """Li et al. 2019, table 7: conv5 of 2048 channels, a projected map of 256 on 14 x 14, two layers of 1024."""
    maps, proj = np.zeros((1, 14, 14, 2048), "float16"), np.zeros((1, 14, 14, 256), "float16")
    heads = {"proj": proj, "fc1": np.zeros((1, 1024)), "fc2": np.zeros((1, 1024))}
    found = image_probes.ladder(maps, heads, np.zeros((1, 2048)))
    assert {name: make().shape[1] for name, make in found.items()} == {
        "pooled": 2048,
        "proj 14x14": 50_176,
        "proj 4x4": 4_096,
        "proj 2x2": 1_024,
        "proj 1x1": 256,
        "fc1": 1_024,
        "fc2": 1_024,
    }
    without = image_probes.ladder(maps, {}, np.zeros((1, 2048)))
    assert list(without) == ["pooled", "map 14x14", "map 4x4", "map 2x2"]


# The fit


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("depth", [6, 200])
def test_a_probe_is_that_of_scikit_learn(classes, depth):
    """More features than images are rotated before: the probe must be the same one."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    features, labels = points(classes=classes, depth=depth, spread=3.0)
    probe = fitted(features, labels, classes, Settings(strengths=(0.1,), steps=2000), of="x")
    scaler = StandardScaler().fit(features.astype("float64"))
    own = LogisticRegression(C=0.1, max_iter=2000, tol=1e-6).fit(scaler.transform(features), labels)
    others = points(classes=classes, depth=depth, spread=3.0, seed=1)[0]
    wanted = own.predict_proba(scaler.transform(others))
    np.testing.assert_allclose(probe.probabilities(others), wanted, atol=4e-3)
    assert (probe.logits(others).argmax(1) == wanted.argmax(1)).mean() > 0.97


def test_scale_and_shift_of_features_do_not_matter():
    features, labels = points(spread=2.0)
    probe = fitted(features, labels, 3, Settings(), of="x")
    factor = np.array([1e-3, 1, 7, 1e3, 2, 5], "float32")
    moved = fitted(features * factor + 3, labels, 3, Settings(), of="x")
    np.testing.assert_allclose(moved.probabilities(features * factor + 3), probe.probabilities(features), atol=2e-3)
    assert moved.strength == probe.strength


def test_a_channel_that_never_changes_says_nothing():
    features, labels = points()
    more = np.concatenate([features, np.full((len(features), 1), 3.0, "float32")], axis=1)
    probe = fitted(more, labels, 3, Settings(), of="x")
    np.testing.assert_allclose(
        probe.probabilities(more), fitted(features, labels, 3, Settings(), of="x").probabilities(features), atol=1e-3
    )
    more[:, -1] = 100
    assert probe.probabilities(more).max() <= 1


def test_the_strength_is_the_best_on_held_out_images():
    """With labels by chance and more features than images, a strong fit only learns them by heart: by cross-entropy
    the weakest is best; clear classes want a stronger one."""
    random = np.random.default_rng(0)
    noise, chance = random.normal(size=(100, 150)), random.integers(0, 2, 100)
    settings = Settings(strengths=(1e-5, 1e2), held_out=0.3)
    clear, labels = points(spread=0.3)
    assert fitted(clear, labels, 3, Settings(strengths=(1e-7, 1.0)), of="x").strength == 1.0
    held = linear_classifier.held_out(chance, 0.3, 0)
    scores = {}
    for strength in settings.strengths:
        one = fitted(noise, chance, 2, settings, of="x")
        single = fitted(noise[~held], chance[~held], 2, Settings(strengths=(strength,)), of="x")
        likely = single.probabilities(noise[held])
        right = likely.argmax(1) == chance[held]
        scores[strength] = (right.mean(), np.log(likely[np.arange(held.sum()), chance[held]]).mean())
    assert one.strength == max(scores, key=scores.get)


def test_no_class_is_held_out_as_a_whole():
    labels = np.array([0] * 30 + [1, 2, 2])
    for seed in range(20):
        held = linear_classifier.held_out(labels, 0.9, seed)
        assert held.sum() == 30 and set(labels[~held]) == {0, 1, 2}
    assert not linear_classifier.held_out(np.arange(4), 0.5, 0).any()
    np.testing.assert_array_equal(
        linear_classifier.held_out(labels, 0.1, 3), linear_classifier.held_out(labels, 0.1, 3)
    )
    assert linear_classifier.held_out(labels, 0.1, 3).sum() == 3


def test_classes_of_one_image_get_the_middle_strength():
    features = np.eye(4, dtype="float32")
    assert fitted(features, np.arange(4), 4, Settings(), of="x").strength == 1.0


def test_blocks_change_nothing(monkeypatch):
    features, labels = points(images=40, depth=90)
    some = Rows(features.astype("float16"), np.arange(0, 40, 2))
    whole = fitted(some, labels[::2], 3, Settings(), of="x").probabilities(features)
    monkeypatch.setattr(scratch, "BLOCK", 7 * 90)
    np.testing.assert_allclose(
        fitted(some, labels[::2], 3, Settings(), of="x").probabilities(features), whole, atol=1e-4
    )


@pytest.mark.parametrize("depth", [50, 200])
def test_of_many_features_and_images_some_images_span_the_space(depth, monkeypatch):
    """Features of rank 12: any 30 images span what all of them do, so the probe is the same one, though nothing is
    held that grows with images times features."""
    random = np.random.default_rng(0)
    few, labels = points(images=120, depth=12, spread=2.0)
    features = few @ random.normal(size=(12, depth)).astype("float32")
    whole = fitted(features, labels, 3, Settings(), of="x")
    monkeypatch.setattr(linear_classifier, "SPAN", 30)
    monkeypatch.setattr(scratch, "BLOCK", 500)
    spanned = fitted(features, labels, 3, Settings(), of="x")
    assert spanned.strength == whole.strength
    np.testing.assert_allclose(spanned.probabilities(features), whole.probabilities(features), atol=3e-3)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_features_that_are_not_finite(bad):
    features, labels = points()
    features[17, 2] = bad
    with pytest.raises(UserError, match="the features of resnet are not finite; train"):
        fitted(features, labels, 3, Settings(), of="resnet")


def test_features_that_are_constant():
    with pytest.raises(UserError, match="the features of resnet are the same for every image"):
        fitted(np.full((6, 3), 0.25, "float16"), np.arange(6) % 2, 2, Settings(), of="resnet")


# What is fitted to and tested on


def test_a_class_needs_an_image_in_both_parts():
    labels = np.array([5, 5, 2, 7, 7, 3, 3])
    train = np.array([1, 0, 1, 1, 0, 0, 0], bool)
    found = split(labels, train)
    assert found.classes.tolist() == [5, 7] and found.left_out.tolist() == [2, 3]
    assert found.train.tolist() == [0, 3] and found.test.tolist() == [1, 4]
    assert found.labels.tolist() == [0, 0, -1, 1, 1, -1, -1]


@pytest.mark.parametrize("train", [[True, True, True], [False, False, False], [True, False, True]])
def test_fewer_than_two_classes(train):
    with pytest.raises(LeftOut, match="of 2 classes ha"):
        split(np.array([0, 0, 1]), np.array(train))


# The study


@pytest.fixture(scope="module")
def findings():
    return image_probes.study(QUICK, material())


def test_the_study_finds_what_was_built_in(findings):
    detector, classifier = findings.numbers["detector"], findings.numbers["classifier"]
    assert list(detector) == [
        *(f"accuracy/{name}" for name in ("pooled", "proj 4x4", "proj 2x2", "proj 1x1", "fc1", "fc2")),
        "images",
        "classes",
    ]
    assert "accuracy/map 2x2" in classifier and "accuracy/fc1" not in classifier
    assert classifier["accuracy/pooled"] > detector["accuracy/pooled"] > 0.5 > 1 / 3
    spatial, head, of_pooled, pretraining = findings.claims
    assert spatial.measured == "top-1 of detector, proj 1x1 minus proj 4x4" and spatial.held
    assert head.measured == "top-1 of detector, fc1 minus fc2" and head.difference.value > 0
    assert "the best of the head" in of_pooled.measured
    assert pretraining.measured == "top-1 of classifier minus detector, pooled"
    wanted = classifier["accuracy/pooled"] - detector["accuracy/pooled"]
    assert pretraining.difference.value == pytest.approx(wanted)
    table, change = findings.tables
    rows = dict(table.rows)
    assert rows["proj 4x4"][1:] == [4 * 4 * 6, rows["proj 4x4"][2], None, None, None]
    assert dict(change.rows)["classifier"][0].value == pytest.approx(
        classifier["accuracy/pooled"] - classifier["accuracy/map 4x4"]
    )
    ((name, figure, picture),) = findings.figures
    assert name == "probes" and figure.chart and picture.axes


def test_models_without_a_head_have_the_ladder_of_their_own_map():
    findings = image_probes.study(QUICK, material(images=60, head=False))
    assert [claim.measured for claim in findings.claims] == [
        "top-1 of detector, pooled minus map 4x4",
        "top-1 of classifier minus detector, pooled",
    ]


def test_a_map_of_one_place_has_no_ladder():
    findings = image_probes.study(QUICK, material(images=60, side=1, head=False))
    assert list(findings.numbers["detector"]) == ["accuracy/pooled", "images", "classes"]
    assert len(findings.claims) == 1 and not findings.figures


def test_the_study_repeats(findings):
    assert image_probes.study(QUICK, material()).numbers == findings.numbers


def test_a_class_with_one_image_is_left_out_and_named():
    labels = (np.arange(60) % 3).astype("int32")
    labels[7] = 4
    findings = image_probes.study(QUICK, material(images=60, side=1, labels=labels))
    assert "of 3 classes" in findings.text[0] and "in one of both parts: class4." in findings.text[0]
    assert findings.numbers["detector"]["classes"] == 3


def test_images_without_labels():
    with pytest.raises(LeftOut, match="no labels"):
        image_probes.study(QUICK, material(labels=None))


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ({"strengths": ()}, "strengths is"),
        ({"strengths": (0.0, 1.0)}, "strengths is"),
        ({"held_out": 1.0}, "held-out is 1.0"),
        ({"steps": 0}, "--probes.steps is 0"),
    ],
)
def test_settings_that_cannot_work(flags, words):
    with pytest.raises(UserError, match=words):
        Settings(**flags)
