import pytest

from kerastransfer.tasks.about import About


def test_an_unknown_resize_is_refused():
    with pytest.raises(ValueError, match="'crop'; choose from"):
        About(task="detection", labels=("cat",), image_size=(64, 64), resize="crop")
