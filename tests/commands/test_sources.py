import pytest

from kerastransfer.commands.sources import sources
from kerastransfer.errors import UserError


@pytest.fixture
def folder(tmp_path):
    for name in ("a.jpg", "a.png", "A.JPG.png", "b/a.jpg", "b/c/clip.mp4", "b/a_2.jpg", ".hidden/x.png", "notes.txt"):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / name).write_bytes(b"")
    (tmp_path / "in" / "out").mkdir()
    (tmp_path / "in" / "out" / "a.png").write_bytes(b"")
    return tmp_path / "in"


def names(folder, *given):
    return {name: str(one.path.relative_to(folder)) for name, one in sources(map(str, given), folder / "out").items()}


def test_folders_are_searched_below_and_names_keep_their_folders(folder):
    assert names(folder, folder) == {
        "A.JPG": "A.JPG.png",
        "a": "a.jpg",
        "a_2": "a.png",
        "b/a": "b/a.jpg",
        "b/a_2": "b/a_2.jpg",
        "b/c/clip": "b/c/clip.mp4",
    }


def test_patterns_in_quotes(folder):
    assert names(folder, folder / "*.jpg", folder / "b" / "a*") == {
        "a": "a.jpg",
        "a_2": "b/a.jpg",
        "a_2_2": "b/a_2.jpg",
    }
    assert set(names(folder, folder / "**" / "*.jpg").values()) == {"a.jpg", "b/a.jpg", "b/a_2.jpg"}


def test_equal_names_never_collide(folder):
    found = names(folder, folder, folder, folder / "a.jpg")
    assert len(found) == 13
    assert len({name.lower() for name in found}) == 13


def test_cameras(tmp_path):
    assert [str(one) for one in sources(["camera:2"], tmp_path).values()] == ["camera:2"]


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ([], "no image was given"),
        (["image *.jpg"], "no file fits this pattern"),
        (["http://host/a.jpg"], "download the file"),
        (["camera:front"], "as in camera:0"),
    ],
)
def test_what_is_nothing(given, told, tmp_path):
    with pytest.raises(UserError, match=told):
        sources(given, tmp_path)
