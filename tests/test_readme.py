"""The README's scripts, as they stand."""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

README = Path(__file__).resolve().parent.parent / "README.md"
SCRIPTS = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)


def mean_iou(predictor):
    """Of the classes in an image, truth or found, other than background; then of the test images of the script."""
    import kerastransfer as kt
    from kerastransfer.vocabulary import VOID

    images = []
    for sample in kt.data("toy:100", "segmentation")[1]:
        example = sample.read()
        counts = example["segmentation"] != VOID
        truth, found = example["segmentation"][counts], predictor.predict(example["image"]).segmentation[counts]
        both = [((truth == k) & (found == k)).sum() / ((truth == k) | (found == k)).sum() for k in there(truth, found)]
        images += [np.mean(both)] if both else []
    return np.mean(images)


def there(truth, found):
    return sorted({*np.unique(truth), *np.unique(found)} - {0})


@pytest.mark.slow
def test_the_scripts_run_as_they_stand(tmp_path, monkeypatch, capsys):
    """The encoder is one of random weights, which the first command of the README would have trained."""
    import kerastransfer as kt
    from kerastransfer.data.toy import toy

    train_and_export, on_the_device = SCRIPTS
    monkeypatch.chdir(tmp_path)
    run = tmp_path / "saved_models/yolo_segnet-toy"
    (run / "models").mkdir(parents=True)
    kt.encoder("small").save(run / "models/encoder.keras")
    exec(compile(train_and_export, "README", "exec"), {})
    assert float(capsys.readouterr().out.split()[-1]) == pytest.approx(mean_iou(kt.load("mine.keras")), abs=1e-3)
    assert sorted(path.name for path in Path("exported/tflite").iterdir()) == [
        "unet.json",
        "unet.tflite",
        "unet_float16.tflite",
        "unet_int8.tflite",
    ]
    assert Path("mine.keras").is_file() and Path("mine.json").is_file()

    (run / "tflite").mkdir()
    shutil.copy("exported/tflite/unet_int8.tflite", run / "tflite/yolo_unet_int8.tflite")
    Image.fromarray(toy(count=1).samples[0].read()["image"]).save("photo.jpg")
    exec(compile(on_the_device, "README", "exec"), {})
    with Image.open("overlay.png") as overlay:
        assert overlay.size == (256, 256)


def test_the_script_for_fit_is_short():
    lines = [line for line in SCRIPTS[0].splitlines() if line.strip()]
    assert len(lines) <= 12
    assert [line for line in lines if "import" in line] == ["import keras", "import kerastransfer as kt"]
