import numpy as np

from kerastransfer.tasks import drawing
from kerastransfer.tasks.classification import Classification
from kerastransfer.tasks.detection import Detections
from kerastransfer.tasks.instances import Instances
from kerastransfer.tasks.segmentation import Segmentation

GREY = np.full((4, 6, 3), 100, np.uint8)
WIDE = np.full((200, 300, 3), 100, np.uint8)


def instances(masks):
    count = len(masks)
    boxes = np.tile(np.float32([0, 0, 1, 1]), (count, 1))
    return Instances(boxes, np.ones(count, np.float32), np.zeros(count, np.int32), ("cat",) * count, (4, 6), masks)


def test_each_object_has_its_colour_and_the_best_is_on_top():
    masks = np.zeros((2, 4, 6), bool)
    masks[0, :, :3] = masks[1, :, 2:5] = True
    painted = drawing.masks(GREY, masks, alpha=0.25)
    first, second = (np.round(75 + 0.25 * np.array(drawing.colour(number))) for number in (0, 1))
    np.testing.assert_array_equal(painted[:, :3], np.tile(first, (4, 3, 1)))
    np.testing.assert_array_equal(painted[:, 3:5], np.tile(second, (4, 2, 1)))
    np.testing.assert_array_equal(painted[:, 5], GREY[:, 5])
    assert (first != second).any()


def test_nothing_to_paint():
    nothing = instances(np.zeros((0, 4, 6), bool))
    np.testing.assert_array_equal(drawing.masks(GREY, nothing.masks), GREY)
    np.testing.assert_array_equal(nothing.draw(GREY), GREY)


def test_a_box_is_drawn_in_the_colour_of_its_class():
    boxes, label = np.array([[0.5, 0.25, 0.9, 0.75]], np.float32), np.array([3], np.int32)
    found = Detections(boxes, np.array([0.9], np.float32), label, ("cat",), (200, 300))
    drawn = np.asarray(found.draw(WIDE))
    y, x = np.nonzero((drawn[105:] == drawing.colour(3)).all(axis=-1))
    assert abs(y.max() + 105 - 180) <= 1 and abs(x.min() - 75) <= 1 and abs(x.max() - 225) <= 1
    np.testing.assert_array_equal(drawn[120:160, 100:200], WIDE[120:160, 100:200])


def test_captions_of_many_small_boxes_do_not_hide_them():
    """All are in the upper half, none of them as wide as its caption, and one below is wider."""
    places = np.linspace(0, 0.9, 20, dtype=np.float32)
    small = np.stack([0.3 * np.ones(20), places, 0.4 * np.ones(20), places + 0.05], axis=1)
    boxes = np.concatenate([small, [[0.6, 0.1, 0.9, 0.9]]]).astype(np.float32)
    found = Detections(boxes, np.ones(21, np.float32), np.zeros(21, np.int32), ("cat",) * 21, (200, 300))
    changed = (np.asarray(found.draw(WIDE)) != WIDE).any(axis=-1)
    assert not changed[:58].any() and not changed[84:100].any()
    assert changed[105:118].any()
    few = Detections(boxes[:3], np.ones(3, np.float32), np.zeros(3, np.int32), ("cat",) * 3, (200, 300))
    assert (np.asarray(few.draw(WIDE)) != WIDE).any(axis=-1)[45:58].any()


def test_background_is_left_alone_and_classes_are_coloured():
    classes = np.zeros((4, 6), np.uint8)
    classes[1:3, 2:] = 2
    found = Segmentation(classes, np.zeros((1, 1, 3), np.float32), ("background", "cat", "dog"))
    drawn = np.asarray(found.draw(GREY, alpha=0.4))
    np.testing.assert_array_equal(drawn[classes == 0], GREY[classes == 0])
    np.testing.assert_allclose(drawn[1, 3], 0.6 * GREY[1, 3] + 0.4 * np.array(drawing.colour(2)), atol=1)


def test_a_class_is_written_in_the_corner():
    found = Classification(np.array([0.1, 0.7, 0.2], np.float32), ("cat", "dog", "hen"))
    drawn = np.asarray(found.draw(WIDE))
    changed = (drawn != WIDE).any(axis=-1)
    assert changed[:15, :15].any() and not changed[100:].any() and not changed[:, 200:].any()
    assert (drawn == drawing.colour(1)).all(axis=-1).any()


def test_heat_is_grey_at_0_and_yellow_at_the_highest():
    values = np.tile(np.array([0.0, 0.25, 0.5, 1.0, 9.0, -3.0]), (4, 1))
    drawn = np.asarray(drawing.heat(GREY, values, highest=0.5, alpha=1.0))
    np.testing.assert_array_equal(drawn[0, [0, 5]], [GREY[0, 0]] * 2)
    np.testing.assert_array_equal(drawn[0, 1:5], [[255, 128, 0], [255, 255, 0], [255, 255, 0], [255, 255, 0]])


def test_neighbouring_classes_have_colours_far_apart():
    colours = np.array([drawing.colour(label) for label in range(8)], int)
    apart = np.abs(colours[:, None] - colours[None]).sum(axis=-1)[~np.eye(8, dtype=bool)]
    assert apart.min() > 60
