import pytest

from kerastransfer.data import datasets, inside
from kerastransfer.errors import UserError


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("list.csv", "a.jpg,cat\nb.jpg,dog\n"),
        ("list.csv", "path,label\na.jpg,cat\nb.jpg,dog\n"),
        ("list.csv", "id;breed\na;cat\nb;dog\n"),
        ("labels.csv", "x,label,file_name\n1,cat,a.jpg\n2,dog,photos/b.jpg\n"),
        ("list.txt", "a.jpg cat\nb.jpg dog\n"),
        ("list.txt", "a.jpg, cat\nb.jpg, dog\n"),
        ("list.tsv", "image\tclass\na.jpg\tcat\nb.jpg\tdog\n"),
    ],
)
@pytest.mark.parametrize("home", ["", "images", "list"])
def test_lists(tmp_path, draw, file, text, home):
    if home == "list" and file == "labels.csv":
        return
    draw(tmp_path / home / "a.jpg")
    draw(tmp_path / home / "b.jpg")
    draw(tmp_path / home / "photos/b.jpg")
    (tmp_path / file).write_text(text)
    for data in (tmp_path, tmp_path / file):
        dataset = datasets.load(data)
        assert (datasets.format_of(data), dataset.image_classes) == ("image_list", ("cat", "dog"))
        assert [int(sample.read()["label"]) for sample in dataset] == [0, 1]


def test_numbers_are_labels_in_their_order_and_may_have_names(tmp_path, draw):
    for name in "abc":
        draw(tmp_path / f"{name}.jpg")
    (tmp_path / "train.txt").write_text("a.jpg 10\nb.jpg 2\n")
    (tmp_path / "test.txt").write_text("c.jpg 2\n")
    dataset = datasets.load(tmp_path)
    assert dataset.image_classes == ("2", "10")
    assert [(s.name, s.split, int(s.read()["label"])) for s in dataset] == [
        ("a", "train", 1),
        ("b", "train", 0),
        ("c", "test", 0),
    ]
    (tmp_path / "classes.txt").write_text("\n".join(f"class-{k}" for k in range(11)))
    assert int(datasets.load(tmp_path)[0].read()["label"]) == 10
    (tmp_path / "classes.txt").write_text("one\ntwo\n")
    with pytest.raises(UserError, match="names 2 classes, but there is a label 10"):
        datasets.load(tmp_path)


def test_what_is_bad_is_named(tmp_path, draw):
    draw(tmp_path / "secret.jpg")
    for name in "abc":
        draw(tmp_path / f"data/{name}.jpg")
    outside = f"../secret.jpg,cat\n{tmp_path}/secret.jpg,cat\n"
    (tmp_path / "data/list.csv").write_text(f"a.jpg,cat\nb.jpg,cat\nc.jpg,cat\na.jpg,dog\nmissing.jpg,dog\n{outside}")
    dataset = datasets.load(tmp_path / "data", max_bad=0.9)
    assert [sample.name for sample in dataset] == ["a", "b", "c"]
    assert [(one.name, one.reason) for one in dataset.bad] == [
        ("a.jpg", "labelled cat and dog; the first is kept"),
        ("../secret.jpg", inside.REASON),
        (f"{tmp_path}/secret.jpg", inside.REASON),
        ("missing", "image missing.jpg is missing"),
    ]
    assert len(datasets.load(tmp_path / "data", max_bad=0.9, allow_outside=True)) == 4


def test_other_text_files_are_no_lists(tmp_path, draw):
    draw(tmp_path / "a.jpg")
    (tmp_path / "README.txt").write_text("two words\nper line\n")
    with pytest.raises(UserError, match="no known layout"):
        datasets.load(tmp_path)
