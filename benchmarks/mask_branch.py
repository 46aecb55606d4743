"""Cost of the mask branch on a CPU: an exported file in LiteRT, compared with the same file without masks.

    python benchmarks/mask_branch.py [RUN/models/yolo_mask.keras] [--threads 1 2] [--kinds float32 int8] [--rounds 9]

By default the net is a yolov3-small at 320 x 320 that predicts masks in 20 boxes, with a branch of four convolutions
with 32 filters that also pools from c3. Its weights are random, with batch statistics from drawn scenes, which also
calibrate int8.

Both files compute from pixels to the boxes that remain after non-maximum suppression. They take turns, and the time of
the branch is the difference between them in the same round. The aim is half of the detector's time on two threads; in
YOLO-Mask the branch takes four times as long as the detector, 8 ms and 2 ms.
"""

import argparse
import contextlib
import tempfile
from collections.abc import Sequence
from pathlib import Path

from machine import describe
from nets import CALIBRATION, quiet_keras, scenes, settle
from rounds import Contestant, answer, spread, take_turns

from kerastransfer.errors import UserError
from kerastransfer.runs.command_line import one_line_errors

MODELS = ("yolov3-tiny", "yolov3-small", "yolov3", "yolov3-spp")
KINDS = ("float32", "float16", "int8")
FILES = ("detector", "with masks")
NUM_CLASSES = 1


def main():
    flags = arguments()
    if flags.contestant:
        answer(lambda: prepare(flags.contestant, *flags.threads))
        return
    with one_line_errors(), tempfile.TemporaryDirectory() as folder:
        graph, size = trained_graph(flags.model) if flags.model else random_graph(flags)
        graphs = {"detector": without_masks(graph), "with masks": graph}
        counts = write(graphs, size, flags.kinds, Path(folder))
        print(describe("ai-edge-litert", "tensorflow", "keras"))
        number = graph.output["masks"].shape[1]
        print(f"{flags.model or f'{flags.detector}, width {flags.width:g}, random weights'}:", end=" ")
        print(f"{size[0]} x {size[1]}, {counts['detector'] / 1e9:.2f} GMAC, and masks of {number} boxes,", end=" ")
        print(f"{(counts['with masks'] - counts['detector']) / 1e9:.2f} GMAC")
        print(f"One image, {flags.rounds} rounds of {flags.steps} runs: median (smallest-largest)\n")
        columns = ("threads", "type", "detector, ms", "with masks, ms", "mask branch, ms", "mask branch / detector")
        print(f"| {' | '.join(columns)} |\n{'|---' * len(columns)}|", flush=True)
        for threads in flags.threads:
            for kind in flags.kinds:
                print(f"| {threads} | {kind} | {' | '.join(compare(flags, kind, threads, Path(folder)))} |", flush=True)


def compare(flags, kind: str, threads: int, folder: Path) -> list[str]:
    """The cells of a row."""
    with contextlib.ExitStack() as stack:
        contestants = {}
        for name in FILES:
            command = ["--contestant", str(path_of(folder, name, kind)), "--threads", str(threads)]
            contestants[name] = stack.enter_context(contextlib.closing(Contestant(__file__, *command)))
        turns = take_turns(contestants, flags.rounds, flags.steps)
    return cells(*([turn["milliseconds"] for turn in turns[name]] for name in FILES))


def cells(detector: Sequence[float], with_masks: Sequence[float]) -> list[str]:
    """The cells for the milliseconds of each round: detector, with masks, difference, difference / detector."""
    branch = [whole - part for whole, part in zip(with_masks, detector, strict=True)]
    shares = [own / part for own, part in zip(branch, detector, strict=True)]
    return [*(spread(values, ".2f") for values in (detector, with_masks, branch, shares))]


def trained_graph(path: Path):
    from kerastransfer.runs import trained

    graph, about = trained.exported(path)
    if about.task != "instances":
        raise UserError(f"{path} does not predict masks in boxes; give RUN/models/yolo_mask.keras")
    return graph, about.image_size


def random_graph(flags):
    keras = quiet_keras()
    from kerastransfer.codecs.mask import MaskCodec
    from kerastransfer.codecs.yolov3 import YoloV3Codec
    from kerastransfer.models import darknet_cfg, darknet_nets, yolo_mask
    from kerastransfer.models.yolov3 import yolov3

    keras.utils.set_random_seed(1)
    size = (flags.image_size, flags.image_size)
    cfg = darknet_nets.yolov3_cfg(
        flags.detector, num_classes=NUM_CLASSES, width=flags.width, image_size=size, activation="relu6"
    )
    options = {"fine": flags.fine, "filters": flags.mask_filters, "convs": flags.mask_convs, "activation": "relu6"}
    network = yolo_mask.yolo_mask(yolov3(cfg), NUM_CLASSES, **options)
    settle(network, scenes(CALIBRATION, flags.image_size))
    found = darknet_cfg.anchors_of(darknet_cfg.parse(cfg))
    codec = YoloV3Codec(NUM_CLASSES, found.anchors, found.levels)
    return yolo_mask.instances(network, codec, MaskCodec(), size, max_detections=flags.detections), size


def without_masks(graph):
    """The same graph without masks, and without whatever only they need."""
    import keras

    found = {name: value for name, value in graph.output.items() if name != "masks"}
    return keras.Model(graph.input, found, name="detector")


def write(graphs: dict, size: tuple[int, int], kinds: Sequence[str], folder: Path) -> dict[str, int]:
    """Write a file for each graph and kind, and a scene to run them on. Returns the multiply-adds of each graph."""
    import numpy as np
    from graph import flatten, multiply_adds

    from kerastransfer.data.resize import resize_image
    from kerastransfer.export import tflite

    drawn = scenes(CALIBRATION, max(size))
    np.save(folder / "image.npy", resize_image(drawn[0], size))
    for name, graph in graphs.items():
        for kind in kinds:
            path_of(folder, name, kind).write_bytes(tflite.convert(graph, size, kind, drawn))
    return {name: multiply_adds(flatten(graph, (1, *size, 3)).steps) for name, graph in graphs.items()}


def path_of(folder: Path, name: str, kind: str) -> Path:
    return folder / f"{name}_{kind}.tflite"


def prepare(path: str, threads: int):
    """A contestant: a file that is ready to run."""
    import numpy as np
    from runtimes import litert, timed

    interpreter, detail = litert(path, threads)
    interpreter.set_tensor(detail["index"], np.load(Path(path).with_name("image.npy"))[None].astype(detail["dtype"]))
    return {}, timed(interpreter.invoke)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, nargs="?", help="a trained net; the flags that describe a net are ignored")
    parser.add_argument("--detector", choices=MODELS, default="yolov3-small")
    parser.add_argument("--width", type=float, default=1.0, help="width factor of the detector")
    parser.add_argument("--image-size", type=int, default=320, help="height and width in pixels")
    parser.add_argument("--mask-filters", type=int, default=32, help="filters in each layer of the branch")
    parser.add_argument("--mask-convs", type=int, default=4, help="3 x 3 convolutions in the branch")
    parser.add_argument("--fine", nargs="*", choices=("c1", "c2", "c3", "c4"), default=["c3"])
    parser.add_argument("--detections", type=int, default=20, help="number of boxes that get a mask")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=["float32", "int8"])
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--steps", type=int, default=10, help="runs in a round")
    parser.add_argument("--contestant", help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
