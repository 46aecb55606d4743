"""Whether `kerastransfer advise` is right: its order against that after fine-tuning, masks foretold, photos chosen.

    python benchmarks/advise.py --data DIR --folder WORK [--only finetune,order,curve,photos] [--sets pets,polyps]

DIR holds oxford-iiit-pet, Kvasir-SEG, flowers17_segmentation, PennFudanPed and coco_as_voc. Every finished cell is kept
in WORK/cells.json, so the script goes on where it was stopped; at the end it prints the tables of what is there.

Each encoder is fine-tuned end to end under a U-Net decoder on the same few masks, and scored on other photos. The rule
by which encoders are ordered was chosen on the first two sets (`DEVELOPED_ON`), and is checked on the other three.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
from machine import describe
from PIL import Image

SIZE = 96
# Photos that are fine-tuned on, and photos that are only scored.
MASKS, TEST = 64, 80
EPOCHS, BATCH, LEARNING_RATE = 20, 8, 1e-3
# Of the decoder, narrow: most of a step's time is otherwise its.
WIDTHS = (64, 48, 32, 24, 16)
DEVELOPED_ON = ("people",)
SETS = (*DEVELOPED_ON, "pets", "polyps", "flowers")
# Of flowers17_segmentation: flower, background; everything else is void. Of VOC: a person, void; the rest is background.
FLOWER, GROUND = 1, 3
PERSON, VOID = 15, 255
# Minutes of training on the boxes of COCO photos for an encoder of our own.
DETECTOR_MINUTES = 4


def main():
    flags = arguments()
    flags.folder.mkdir(parents=True, exist_ok=True)
    cells = Cells(flags.folder / "cells.json")
    import keras

    from kerastransfer.training import strategy

    keras.config.disable_interactive_logging()
    strategy.prepare(precision="auto", seed=0)
    encoders = made_encoders(flags.data, flags.folder / "encoders")
    for name in flags.sets:
        data = made_data(flags.data, flags.folder, name)
        if "finetune" in flags.only:
            for seed in flags.seeds:
                for encoder in encoders:
                    cells.cell(
                        f"finetune/{name}/{encoder}/{seed}", lambda e=encoder, s=seed: finetune(data, encoders[e], s)
                    )


class Cells:
    """Results by name in a JSON file; a cell that is there is not computed again."""

    def __init__(self, path):
        self.path = path

    @property
    def found(self):
        return json.loads(self.path.read_text()) if self.path.exists() else {}

    def cell(self, name, work):
        if name not in self.found:
            start = time.monotonic()
            result = {**work(), "seconds": time.monotonic() - start}
            self.path.write_text(json.dumps({**self.found, name: result}, indent=1))
            print(name, {k: v for k, v in result.items() if isinstance(v, int | float)}, flush=True)
        return self.found[name]


def made_data(source, folder, name):
    """A folder or name that --data takes."""
    if name in ("pets", "polyps", "pedestrians"):
        return source / {"pets": "oxford-iiit-pet", "polyps": "Kvasir-SEG", "pedestrians": "PennFudanPed"}[name]
    into = folder / name
    if not into.exists():
        flowers = name == "flowers"
        voc = source / "coco_as_voc" / "VOCdevkit" / "VOC2012"
        pictures, masks = (
            (source / "flowers17_segmentation" / "images_256", source / "flowers17_segmentation" / "labels_256")
            if flowers
            else (voc / "JPEGImages", voc / "SegmentationClass")
        )
        for inside in ("images", "masks"):
            (into / inside).mkdir(parents=True, exist_ok=True)
        for path in sorted(masks.glob("*.png")):
            values = np.asarray(Image.open(path))
            if flowers:
                mask = np.where(values == FLOWER, 1, np.where(values == GROUND, 0, VOID))
            else:
                mask = np.where(values == VOID, VOID, values == PERSON)
            if (mask == 1).mean() < 0.01:
                continue
            Image.fromarray(mask.astype("uint8")).save(into / "masks" / path.name)
            picture = next(pictures.glob(f"{path.stem}.*"))
            (into / "images" / picture.name).symlink_to(picture.resolve())
    return into


def made_encoders(source, folder):
    """{name: file}: published ones, our own, and random twins of some."""
    import keras

    from kerastransfer.encoders import ENCODERS
    from kerastransfer.export import loading
    from kerastransfer.runs import trained

    folder.mkdir(parents=True, exist_ok=True)

    def mobilenet():
        from kerastransfer.models.adapter import encoder_of

        weights = source.parent / "weights" / "mobilenet_v2" / "mobilenet_v2.weights.h5"
        model = keras.applications.MobileNetV2(weights=None)
        model.load_weights(weights)
        # Without the classifier.
        return encoder_of(keras.Model(model.input, model.get_layer("out_relu").output), "torch")

    makers = {
        "small, random": ENCODERS["small"],
        "resnet18, random": ENCODERS["resnet18"],
        "yolov3-tiny, random": lambda: keras.models.clone_model(trained.encoder("yolov3-tiny")),
        "small, COCO photos": lambda: own_detector(source),
        "yolov3-tiny, COCO": lambda: trained.encoder("yolov3-tiny"),
        "yolo-fastest-xl, COCO": lambda: trained.encoder("yolo-fastest-1.1-xl"),
        "mobilenet-v2, ImageNet": mobilenet,
    }
    paths = {name: folder / f"{name.replace(', ', '_').replace(' ', '_')}.keras" for name in makers}
    policy = keras.mixed_precision.dtype_policy()
    # Files hold float32 networks, whatever trains them.
    for name, path in paths.items():
        if not path.exists():
            keras.mixed_precision.set_global_policy("float32")
            keras.utils.set_random_seed(0)
            loading.write_keras(makers[name](), path)
            keras.mixed_precision.set_global_policy(policy)
    return paths


def own_detector(source):
    """The encoder of a small detector that was trained for minutes on the boxes of COCO photos. None of them is in the
    other sets but for `people`, whose boxes it saw."""
    import keras

    import kerastransfer as kt

    train, _ = kt.data(source / "coco_as_voc" / "VOCdevkit" / "VOC2012", "boxes")
    model = kt.detector("small", train, image_size=160)
    model.compile(keras.optimizers.Adam(1e-3))
    batches = kt.batches(train, "boxes", image_size=160, batch_size=8)

    class Until(keras.callbacks.Callback):
        def on_train_begin(self, logs=None):
            self.end = time.monotonic() + 60 * DETECTOR_MINUTES

        def on_epoch_end(self, epoch, logs=None):
            self.model.stop_training = time.monotonic() > self.end

    model.fit(batches, epochs=1000, callbacks=[Until()], verbose=0)
    return (model.kept() if hasattr(model, "kept") else model.network).get_layer("encoder")


def parts(data):
    """Training masks, test photos, and all photos but these of a set, drawn once."""
    from kerastransfer.data import datasets, derive

    dataset = derive.require(datasets.load(data, check=False), "segmentation").having("segmentation")
    order = [dataset.samples[index].name for index in np.random.default_rng(0).permutation(len(dataset))]
    good = {sample.name for sample in datasets.load(data).samples}
    rest = [name for name in order[TEST:] if name in good]
    return dataset.only(order[TEST : TEST + MASKS]), dataset.only(order[:TEST]), dataset.only(rest)


def finetune(data, encoder, seed):
    """Test dice of a U-Net on the encoder, trained end to end."""
    import keras

    import kerastransfer as kt
    from kerastransfer.data.decoded import decode
    from kerastransfer.encoders import taps
    from kerastransfer.metrics import segmentation
    from kerastransfer.models import segmenter as segmenters
    from kerastransfer.runs import trained
    from kerastransfer.training import statistics

    train, test, _ = parts(data)
    keras.utils.set_random_seed(seed)
    part = rebuilt(trained.encoder(encoder))
    labels = train.segmentation_classes
    steps_up = max(taps.strides(part).values()).bit_length() - 1
    model = segmenters.segmenter(part, "unet_plain", len(labels), widths=WIDTHS[:steps_up])
    steps = EPOCHS * -(-MASKS // BATCH)
    schedule = keras.optimizers.schedules.CosineDecay(0.0, steps, warmup_target=LEARNING_RATE, warmup_steps=steps // 10)
    model.compile(keras.optimizers.Adam(schedule, global_clipnorm=1.0), loss=kt.PixelLoss())
    model.fit(kt.batches(train, "segmentation", image_size=SIZE, batch_size=BATCH, seed=seed), epochs=EPOCHS, verbose=0)
    seen = decode(train, [], (SIZE, SIZE)).arrays["image"].astype("float32")
    # So few steps leave the moving statistics behind, above all those that began at random.
    statistics.estimate(model, np.split(seen, range(16, len(seen), 16)))
    decoded = decode(test, ["segmentation"], (SIZE, SIZE))
    logits = model.predict(decoded.arrays["image"].astype("float32"), batch_size=16, verbose=0)
    scores = segmentation.per_image(decoded.arrays["segmentation"], logits.argmax(-1), len(labels))
    keras.backend.clear_session()
    return {"dice": float(np.nanmean(scores["dice"]))}


def rebuilt(encoder):
    """The encoder under the precision of this process: a file says float32."""
    import keras

    from kerastransfer.models import rewrite

    return rewrite.with_policy(encoder, keras.mixed_precision.dtype_policy().name)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--only", type=lambda text: text.split(","), default=["finetune", "order", "curve", "photos"])
    parser.add_argument("--sets", type=lambda text: text.split(","), default=SETS)
    parser.add_argument("--seeds", type=lambda text: [int(one) for one in text.split(",")], default=[0])
    return parser.parse_args()


if __name__ == "__main__":
    main()
