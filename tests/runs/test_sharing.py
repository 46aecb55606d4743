"""Models in folders and repositories that others read, and their cards."""

import sys
import types
from pathlib import Path

import pytest

from kerastransfer.errors import UserError
from kerastransfer.runs import model_card, sharing, trained


@pytest.fixture(scope="module")
def segmenter():
    import kerastransfer as kt

    return kt.segmenter(kt.encoder("small"), "unet", ["background", "a_b", "<c>"], image_size=64)


class Hub(types.ModuleType):
    """Hugging Face, in a folder."""

    def __init__(self, folder):
        super().__init__("huggingface_hub")
        self.folder, self.created = folder, []

    def create_repo(self, name, exist_ok):
        self.created.append((name, exist_ok))

    def upload_folder(self, *, repo_id, folder_path, commit_message):
        import shutil

        shutil.copytree(folder_path, self.folder / repo_id)

    def snapshot_download(self, name, allow_patterns):
        if not (self.folder / name).is_dir():
            raise RuntimeError("404\nmore lines")
        return str(self.folder / name)


@pytest.fixture
def hub(tmp_path, monkeypatch):
    hub = Hub(tmp_path / "hub")
    monkeypatch.setitem(sys.modules, "huggingface_hub", hub)
    return hub


def same(a, b):
    return all((x == y).all() for x, y in zip(a.get_weights(), b.get_weights(), strict=True))


@pytest.mark.slow
def test_a_folder_gives_the_model_back(segmenter, tmp_path):
    import kerastransfer as kt

    assert kt.push(segmenter, tmp_path / "shared") == str(tmp_path / "shared")
    assert sorted(path.name for path in (tmp_path / "shared").iterdir()) == ["README.md", "model.json", "model.keras"]
    found = kt.from_preset(tmp_path / "shared")
    assert same(found, segmenter)
    assert found.about.labels == ("background", "a_b", "<c>")
    assert kt.load(tmp_path / "shared").about.image_size == (64, 64)
    with pytest.raises(UserError, match=r"model\.keras would be replaced"):
        kt.push(segmenter, tmp_path / "shared")


@pytest.mark.slow
def test_hugging_face_gives_the_model_back(segmenter, hub, tmp_path):
    import kerastransfer as kt

    assert kt.push(segmenter, "hf://me/net") == "hf://me/net"
    assert hub.created == [("me/net", True)]
    assert same(kt.from_preset("hf://me/net"), segmenter)


@pytest.mark.slow
def test_other_recipes_take_what_was_pushed(segmenter, hub, tmp_path, monkeypatch):
    import kerastransfer as kt

    monkeypatch.chdir(tmp_path)
    for to in ("hf://me/net", "shared"):
        kt.push(segmenter, to)
        # Recipes make a path of it.
        for source in (to, Path(to)):
            trained.require(source, "--start")
            trained.require_encoder(source)
            assert same(trained.encoder(source), segmenter.get_layer("encoder"))
            assert trained.open_predictor(source).about.labels == segmenter.about.labels
            assert same(kt.encoder(source), segmenter.get_layer("encoder"))
    kt.push("shared", "again")
    assert same(kt.from_preset("again"), segmenter)


def test_an_address_is_checked_before_anything_is_downloaded(hub):
    for require in (lambda source: trained.require(source, "--start"), trained.require_encoder):
        with pytest.raises(UserError, match="hf://net is not the address of a repository"):
            require("hf://net")
        require("hf://me/net")


def test_mistakes_have_one_line(hub, tmp_path, monkeypatch):
    with pytest.raises(UserError, match=r"hf://net is not the address .* give hf://OWNER/NAME"):
        sharing.local("hf://net")
    with pytest.raises(UserError, match=r"hf://me/none: cannot be downloaded \(404\); check"):
        sharing.local("hf://me/none")
    (hub.folder / "me/other").mkdir(parents=True)
    with pytest.raises(UserError, match=r"has no model\.keras"):
        sharing.local("hf://me/other")
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(UserError, match=r"pip install 'kerastransfer\[hf\]'"):
        sharing.local("hf://me/net")


def test_a_card_says_what_the_model_is_for_and_its_licence(tmp_path):
    from kerastransfer import files

    (tmp_path / "models").mkdir()
    about = {"task": "detection", "labels": ["<b>", "x_y"], "image_size": [64, 96], "resize": "letterbox"}
    files.write_json(tmp_path / "models/yolov3.json", about)
    (tmp_path / "models/yolov3.keras").touch()
    (tmp_path / "models/encoder.keras").touch()
    results = {"yolov3": {"AP50": 0.51234, "AP50/<b>": 0.1}, "other": {"AP50": 0.9}}
    files.write_json(
        tmp_path / "metrics.json", {"recipe": "detector", "data": "/home/me/photos", "seed": 3, "results": results}
    )
    (tmp_path / "config.toml").write_text(
        'start = "yolov3-tiny"\nencoder = "/home/me/runs/encoder.keras"\nsplit = "owner"\n'
    )
    card = model_card.of_run(tmp_path)
    assert card.startswith("---\nlibrary_name: keras\npipeline_tag: object-detection\n")
    row = "| `yolov3.keras` | finds objects in boxes | 64 x 96 pixels, RGB in 0..255, letterbox | \\<b\\>, x\\_y |"
    assert row in card
    assert "- `--encoder encoder.keras`" in card
    assert "- data: photos, split by rule `owner`" in card and "/home" not in card
    assert "| yolov3 | AP50 | 0.5123 |" in card and "other" not in card and "AP50/" not in card
    from kerastransfer.presets import PRESETS

    assert f"yolov3-tiny: {PRESETS['yolov3-tiny'].licence}" in card
    assert 'kt.load("yolov3.keras")' in card
    assert "`model.keras`" in model_card.of_model(tmp_path / "models/yolov3.keras", "model.keras")


def test_every_task_has_its_words():
    from kerastransfer.tasks import TASKS

    assert set(model_card.WHAT) == set(model_card.PIPELINES) == set(TASKS)


def test_a_run_without_whole_models_has_no_card(tmp_path):
    (tmp_path / "models").mkdir()
    (tmp_path / "models/encoder.keras").touch()
    assert model_card.of_run(tmp_path) is None
