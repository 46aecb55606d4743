"""Whether `kerastransfer advise` is right: its order against that after fine-tuning, masks foretold, photos chosen.

    python benchmarks/advise.py --data DIR --folder WORK [--only finetune,order,curve,photos] [--sets pets,polyps]

DIR holds oxford-iiit-pet, Kvasir-SEG, flowers17_segmentation, PennFudanPed and coco_as_voc. Every finished cell is kept
in WORK/cells, so the script goes on where it was stopped; at the end it prints the tables of what is there.

Each encoder is fine-tuned end to end under a U-Net decoder on the same few masks, and scored on other photos. The rule
by which encoders are ordered was chosen on two of them (`DEVELOPED_ON`), and is checked on the others.
"""

import argparse
import json
import time
from functools import partial
from pathlib import Path

import numpy as np
from machine import describe
from PIL import Image

from kerastransfer import files

SIZE = 96
# Photos that are fine-tuned on, and photos that are only scored.
MASKS, TEST = 64, 80
EPOCHS, BATCH, LEARNING_RATE = 20, 8, 1e-3
# Of the decoder, narrow: most of a step's time is otherwise its.
WIDTHS = (64, 48, 32, 24, 16)
# The encoder for learning curves and choices of photos; photos that these may use; how they begin and go on.
PROBED, MOST = "yolo-fastest-xl, COCO", 400
ANNOTATED, NEXT, DRAWS = 8, 16, 5
DEVELOPED_ON = ("pets", "polyps")
SETS = (*DEVELOPED_ON, "flowers", "people")
# Of flowers17_segmentation: flower, background; all else is void. Of VOC: a person, void; the rest is background.
FLOWER, GROUND = 1, 3
PERSON, VOID = 15, 255
# Minutes of training on the boxes of COCO photos for an encoder of our own.
DETECTOR_MINUTES = 4


def main():
    flags = arguments()
    flags.folder.mkdir(parents=True, exist_ok=True)
    cells = Cells(flags.folder)
    import keras

    from kerastransfer.training import strategy

    keras.config.disable_interactive_logging()
    strategy.prepare(precision="auto", seed=0)
    encoders = made_encoders(flags.data, flags.folder / "encoders")
    for name in flags.sets:
        data = made_data(flags.data, flags.folder, name)
        work = {f"order/{name}": partial(order, data, encoders)} if "order" in flags.only else {}
        work |= {f"curve/{name}": partial(curve, data, encoders[PROBED])} if "curve" in flags.only else {}
        work |= {f"photos/{name}": partial(photos, data, encoders[PROBED])} if "photos" in flags.only else {}
        if "finetune" in flags.only:
            work |= {
                f"finetune/{name}/{encoder}/{seed}": partial(finetune, data, path, seed)
                for seed in flags.seeds
                for encoder, path in encoders.items()
            }
        for cell, act in work.items():
            cells.cell(cell, act)
    print(describe("tensorflow", "keras", "scikit-learn"))
    tables(cells.found)


class Cells:
    """Results by name, each in a JSON file; a cell that is there is not computed again."""

    def __init__(self, folder):
        self.folder = folder / "cells"

    @property
    def found(self):
        return {
            path.stem.replace("--", "/"): json.loads(path.read_text()) for path in sorted(self.folder.glob("*.json"))
        }

    def cell(self, name, work):
        if name not in self.found:
            # Of the processor, not of the clock: others may use the machine.
            start = time.process_time()
            result = {**work(), "seconds": time.process_time() - start}
            files.write_json(self.folder / f"{name.replace('/', '--')}.json", result)
            print(name, {key: value for key, value in result.items() if isinstance(value, int | float)}, flush=True)


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
    return model.kept().get_layer("encoder")


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


def order(data, encoders):
    """What advice says of the encoders, with the masks that they are fine-tuned on."""
    from kerastransfer.analysis.advice import advise
    from kerastransfer.runs import trained

    train, _, _ = parts(data)
    found = advise({name: partial(trained.encoder, path) for name, path in encoders.items()}, train, image_size=SIZE)
    return {
        signal: {one.name: getattr(one, signal) for one in found.encoders}
        for signal in ("auc", "dice", "logme", "h_score", "milliseconds", "parameters")
    } | {"ahead": dict(found.ahead)}


def probed(data, encoder, most):
    """(features, maps, number of classes) of the photos that are not kept for testing, and of those that are."""
    from kerastransfer.analysis.pixel_features import extracted
    from kerastransfer.data.decoded import decode
    from kerastransfer.runs import trained

    _, test, rest = parts(data)
    found = []
    for dataset in (rest[:most], test):
        arrays = decode(dataset, ["segmentation"], (SIZE, SIZE)).arrays
        found.append((extracted(trained.encoder(encoder), arrays["image"]), arrays["segmentation"]))
    return *found, len(rest.segmentation_classes)


def some(features, rows):
    from kerastransfer.analysis.pixel_features import PixelFeatures

    return PixelFeatures({name: maps[rows] for name, maps in features.maps.items()}, features.size)


def curve(data, encoder):
    """Masks for the dice that all masks give, foretold by each quarter of them."""
    from kerastransfer.analysis import power_law, probe
    from kerastransfer.analysis.advice import sizes_of_subsets

    (features, maps), _, classes = probed(data, encoder, MOST)
    number = len(maps)
    largest = number - -(-number // 4)
    dice = np.nanmean(probe.learning_curve(features, maps, classes, [largest]))
    shuffled, quarters = np.random.default_rng(0).permutation(number), []
    for quarter in range(4):
        rows = shuffled[quarter::4]
        sizes = sizes_of_subsets(len(rows) - -(-len(rows) // 4))
        errors = 1 - probe.learning_curve(some(features, rows), maps[rows], classes, sizes)
        law = power_law.fit(sizes, errors)
        needed = law.needed(1 - dice)
        low, high = law.interval(np.array([float(largest)]))
        quarters.append(
            {
                "sizes": sizes,
                "dice": np.nanmean(1 - errors, axis=(0, 2)),
                "needed": {"masks": told(needed.masks), "low": told(needed.low), "high": told(needed.high)},
                "dice_foretold": [1 - law.error(float(largest)), 1 - high[0], 1 - low[0]],
            }
        )
    return {"masks": largest, "dice": dice, "quarters": quarters}


def told(masks):
    """JSON has no infinity."""
    return masks if np.isfinite(masks) else "never"


def photos(data, encoder):
    """Test dice of the probe with chosen photos, with those that spread alone chose, and with random ones."""
    from kerastransfer.analysis import probe, selection

    (features, maps), (seen, truth), classes = probed(data, encoder, MOST)
    points = probe.drawn(maps)
    rows = probe.at_points(features, points)
    pooled, found = features.pooled(), {"chosen": [], "spread": [], "random": []}

    def fitted(images):
        inside = np.isin(points.image, images)
        return probe.fit(rows[inside], points.label[inside], points.weight[inside], classes)

    for draw in range(DRAWS):
        shuffled = np.random.default_rng(draw).permutation(len(maps))
        first, others = shuffled[:ANNOTATED], shuffled[ANNOTATED:]
        start = fitted(first)
        doubt = np.array([start.doubt(features, image) for image in others])
        picks = {
            "chosen": others[selection.chosen(pooled[others], doubt, NEXT, annotated=pooled[first], seed=draw)],
            "spread": others[
                selection.chosen(pooled[others], np.ones(len(others)), NEXT, annotated=pooled[first], seed=draw)
            ],
            "random": others[:NEXT],
        }
        for name, images in picks.items():
            one = fitted(np.concatenate([first, images]))
            found[name].append(float(np.nanmean(probe.scored(one, seen, truth, range(len(truth)), classes))))
    return found


def tables(found):
    from scipy.stats import spearmanr

    from kerastransfer.metrics.bootstrap import difference_over_seeds

    sets = [name for name in SETS if any(cell.split("/")[1] == name for cell in found)]
    print("\n| set | encoder | AUC | dice | LogME | H-score | ms | dice, fine-tuned | s to fine-tune |")
    print("|---|---|---|---|---|---|---|---|---|")
    summary = []
    for name in sets:
        tuned = tuned_on(found, name)
        advised = found.get(f"order/{name}")
        if not advised or not tuned:
            continue
        names = [encoder for encoder in advised["dice"] if encoder in tuned]
        for encoder in names:
            values = [advised[signal][encoder] for signal in ("auc", "dice", "logme", "h_score")]
            scores, seconds = tuned[encoder]
            print(
                f"| {name} | {encoder} | {' | '.join(f'{value:.3f}' for value in values)} | "
                f"{advised['milliseconds'][encoder]:.1f} | {np.mean(scores):.3f} | {seconds:.0f} |"
            )
        after = [np.mean(tuned[encoder][0]) for encoder in names]
        ranks = [
            spearmanr([advised[signal][encoder] for encoder in names], after).statistic
            for signal in ("auc", "dice", "logme", "h_score")
        ]
        share = advised["seconds"] / sum(seconds for _, seconds in tuned.values())
        best = max(tuned[encoder][0][0] for encoder in names) - tuned[names[0]][0][0]
        behind = [encoder for encoder, (_, low, _) in advised["ahead"].items() if low > 0 and encoder in tuned]
        true = sum(tuned[encoder][0][0] < tuned[names[0]][0][0] for encoder in behind)
        summary.append((name, len(names), *ranks, best, f"{true} of {len(behind)}", advised["seconds"], share))
    print("\n| set | encoders | ranks by AUC | dice | LogME | H-score | dice lost by it | behind, truly | s | share |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for name, count, *ranks, lost, true, seconds, share in summary:
        correlations = " | ".join(f"{one:.2f}" for one in ranks)
        print(f"| {name} | {count} | {correlations} | {lost:.3f} | {true} | {seconds:.0f} | {share:.2f} |")
    print("\n| set | masks | dice | foretold by each quarter (interval) | truth inside |")
    print("|---|---|---|---|---|")
    for name in sets:
        if cell := found.get(f"curve/{name}"):
            each = [quarter["needed"] for quarter in cell["quarters"]]
            inside = sum(number(one["low"]) <= cell["masks"] <= number(one["high"]) for one in each)
            shown = ", ".join(f"{short(one['masks'])} ({short(one['low'])} to {short(one['high'])})" for one in each)
            print(f"| {name} | {cell['masks']} | {cell['dice']:.3f} | {shown} | {inside} of {len(each)} |")
    print("\n| set | chosen | spread alone | random | chosen minus random (95 % interval) | better |")
    print("|---|---|---|---|---|---|")
    for name in sets:
        if cell := found.get(f"photos/{name}"):
            chosen, spread, random = (np.array(cell[kind]) for kind in ("chosen", "spread", "random"))
            mean, low, high = difference_over_seeds(chosen, random)
            print(
                f"| {name} | {chosen.mean():.3f} | {spread.mean():.3f} | {random.mean():.3f} | "
                f"{mean:+.3f} ({low:+.3f} to {high:+.3f}) | {(chosen > random).sum()} of {len(chosen)} |"
            )


def tuned_on(found, name):
    """{encoder: (dice of each seed, seconds of one seed)}."""
    tuned = {}
    for cell, result in found.items():
        kind, of, *rest = cell.split("/")
        if kind == "finetune" and of == name:
            scores, seconds = tuned.get(rest[0], ([], 0.0))
            tuned[rest[0]] = ([*scores, result["dice"]], max(seconds, result["seconds"]))
    return tuned


def number(masks):
    return np.inf if masks == "never" else masks


def short(masks):
    return "never" if masks == "never" else f"{masks:.0f}"


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
