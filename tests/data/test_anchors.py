import dataclasses
import shutil

import numpy as np
import pytest

from kerastransfer.data import anchors, datasets, toy
from kerastransfer.data.dataset import BadSampleError
from kerastransfer.errors import UserError


def test_k_means_finds_the_clusters_that_shapes_were_drawn_around():
    random = np.random.default_rng(0)
    centres = np.array([[10, 20], [60, 25], [50, 120.0]])
    sides = np.concatenate([centre * random.uniform(0.95, 1.05, (50, 2)) for centre in centres])
    np.testing.assert_allclose(anchors.k_means(sides, 3), centres, rtol=0.03)


def test_overlap_by_hand():
    found = anchors.overlap(np.array([[4.0, 2.0]]), np.array([[4, 2], [2, 4], [8, 4.0]]))
    np.testing.assert_allclose(found, [[1, 4 / 12, 8 / 32]])


def test_fewer_shapes_than_anchors_still_give_different_ones():
    found = anchors.k_means(np.array([[10.0, 20.0]] * 5), 3)
    assert len(np.unique(found, axis=0)) == 3
    assert [10, 20] in found.tolist()


def test_anchors_of_a_data_set_are_in_pixels_of_the_input_by_rising_area():
    data = toy.toy(count=12, seed=0)
    small, large = (anchors.fitted(data, 4, (side, side)) for side in (64, 128))
    np.testing.assert_allclose(np.array(large), 2 * np.array(small), rtol=1e-6)
    areas = [w * h for w, h in small]
    assert areas == sorted(areas)


@pytest.mark.parametrize("resize", ["stretch", "letterbox"])
def test_no_image_is_decoded(shared_data, tmp_path, resize):
    """Of every photo the header alone is left, and the anchors are the same to the bit."""
    whole = datasets.load(shared_data / "BCCD", check=False)
    whole = whole.only([sample.name for sample in whole.samples[:20] if sample.name != "BloodImage_00338"])
    shutil.copytree(shared_data / "BCCD/Annotations", tmp_path / "Annotations")
    (tmp_path / "JPEGImages").mkdir()
    for sample in whole.samples:
        header = (shared_data / "BCCD/JPEGImages" / f"{sample.name}.jpg").read_bytes()[:1000]
        (tmp_path / "JPEGImages" / f"{sample.name}.jpg").write_bytes(header)
    cut = datasets.load(tmp_path, check=False).only([sample.name for sample in whole.samples])
    with pytest.raises(BadSampleError, match="truncated"):
        cut.samples[0].read()
    assert anchors.fitted(cut, 3, (96, 128), resize=resize) == anchors.fitted(whole, 3, (96, 128), resize=resize)
    boxes = np.concatenate([sample.read()["boxes"] for sample in whole.samples]).astype(float)
    sides = (boxes[:, 2:] - boxes[:, :2])[:, ::-1] * (128, 96)
    if resize == "stretch":
        np.testing.assert_array_equal(anchors.fitted(cut, 3, (96, 128)), anchors.k_means(sides, 3))


def test_of_many_boxes_some_are_drawn(monkeypatch):
    data = toy.toy(count=12, seed=0)
    all_boxes = anchors.fitted(data, 4, (64, 64))
    count = sum(len(sample.read()["boxes"]) for sample in data.samples)
    monkeypatch.setattr(anchors, "MOST_BOXES", count)
    assert anchors.fitted(data, 4, (64, 64)) == all_boxes
    monkeypatch.setattr(anchors, "MOST_BOXES", count // 2)
    fewer = anchors.fitted(data, 4, (64, 64), seed=1)
    assert fewer == anchors.fitted(data, 4, (64, 64), seed=1) != anchors.fitted(data, 4, (64, 64), seed=2)


def test_a_data_set_without_boxes_is_refused():
    data = toy.toy(count=2, seed=0)
    bare = dataclasses.replace(data, samples=tuple(dataclasses.replace(s, fields=frozenset()) for s in data.samples))
    with pytest.raises(UserError, match="no object"):
        anchors.fitted(bare, 3, (64, 64))
