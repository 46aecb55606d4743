import numpy as np

from kerastransfer.tasks import overlay
from kerastransfer.tasks.prediction import Instances

GREY = np.full((4, 6, 3), 100, np.uint8)


def instances(masks):
    count = len(masks)
    boxes = np.tile(np.float32([0, 0, 1, 1]), (count, 1))
    return Instances(boxes, np.ones(count, np.float32), np.zeros(count, np.int32), ("cat",) * count, (4, 6), masks)


def test_each_object_has_its_colour_and_the_best_is_on_top():
    masks = np.zeros((2, 4, 6), bool)
    masks[0, :, :3] = masks[1, :, 2:5] = True
    painted = overlay.paint_masks(GREY, instances(masks), alpha=0.25)
    first, second = (np.round(75 + 0.25 * np.array(overlay.colour(number))) for number in (0, 1))
    np.testing.assert_array_equal(painted[:, :3], np.tile(first, (4, 3, 1)))
    np.testing.assert_array_equal(painted[:, 3:5], np.tile(second, (4, 2, 1)))
    np.testing.assert_array_equal(painted[:, 5], GREY[:, 5])
    assert (first != second).any()


def test_nothing_to_paint():
    assert (overlay.paint_masks(GREY, instances(np.zeros((0, 4, 6), bool))) == GREY).all()
    picture = overlay.draw(GREY, instances(np.zeros((0, 4, 6), bool)))
    np.testing.assert_array_equal(picture, GREY)
