"""Time of a trained net for one image: its exported files, compiled Keras, PyTorch and ONNX Runtime.

    python benchmarks/inference.py [saved_models/RUN | NAME.keras ...] [--threads 1 2] [--rounds 7] [--steps 10]

By default the nets are the small detector, and the SegNet and the U-Net on its encoder, with random weights, at
--image-size. For a run, the exported files are taken from its folder `tflite`; those that are missing are made and
calibrated on drawn scenes, which makes int8 less accurate but not slower or faster.

Only the net itself is timed, from pixels in memory to boxes and scores or to probabilities, with a batch of one and
after a warm-up. All runtimes compute the same graph with the same weights; the last column is the largest difference of
any output from that of Keras, for a drawn scene. The machine's rate is that of its fastest matrix product of the same
type with the same number of threads, measured in turns with the nets: float32 for all that compute in it, including
float16 files.
"""

import argparse
import contextlib
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path

from machine import describe
from nets import Net, gather, large_convolutions
from rounds import Contestant, MissingError, answer, spread, take_turns
from runtimes import PRODUCTS, TYPES, prepare

from kerastransfer.runs.command_line import one_line_errors

# The names of runtimes for our exported files begin with this; the others are what they are compared with.
OWN = "LiteRT"


def main():
    flags = arguments()
    if flags.contestant:
        answer(lambda: prepare(flags.contestant, flags.folder, *flags.threads))
        return
    with one_line_errors(), tempfile.TemporaryDirectory() as folder:
        nets = gather(flags.models, flags.image_size, Path(folder))
        large_convolutions(Path(folder) / "int8.tflite")
        print(describe("ai-edge-litert", "tensorflow", "keras", "numpy", "torch", "onnxruntime"))
        print(f"One image, {flags.rounds} rounds of {flags.steps} runs: median (smallest-largest)")
        for threads in flags.threads:
            compare(flags, nets, threads, Path(folder))


def compare(flags, nets: list[Net], threads: int, folder: Path) -> None:
    """Print the machine's rates with this number of threads, and a table of all nets."""
    print(f"\n{threads} {'threads' if threads > 1 else 'thread'}\n")
    with contextlib.ExitStack() as stack:
        print("| matrix product | | GFLOP/s |\n|---|---|---|", flush=True)
        fastest = {}
        for kind, names in PRODUCTS.items():
            asked = {name: f"{kind} {name}" for name in names}
            started = start(stack, asked, folder, threads, lambda *why, kind=kind: left_out(kind, *why, columns=3))
            rates = {}
            for name, turns in take_turns(started, flags.rounds, flags.steps).items():
                rates[name] = [started[name].first["operations"] / 1e6 / turn["milliseconds"] for turn in turns]
                print(f"| {kind} | {name} | {spread(rates[name])} |", flush=True)
            best = max(rates, key=lambda name: statistics.median(rates[name]), default=None)
            for name, contestant in started.items():
                if name == best:
                    fastest[kind] = contestant
                else:
                    contestant.close()

        print("\n| net | | ms | times as fast as the best of the others | GFLOP/s | of the machine's rate", end=" ")
        print("| CPU ms | difference |\n|---|---|---|---|---|---|---|---|", flush=True)
        for net in nets:
            table(flags, net, threads, fastest)


def start(stack, asked: dict[str, str], folder: Path, threads: int, missing: Callable[[str, str], None]):
    """{name: Contestant} for {name: contestant}, closed by `stack`; `missing(name, reason)` is called for those that
    cannot take part."""
    started = {}
    for name, contestant in asked.items():
        command = ["--contestant", contestant, "--folder", str(folder), "--threads", str(threads)]
        try:
            started[name] = stack.enter_context(contextlib.closing(Contestant(__file__, *command)))
        except MissingError as reason:
            missing(name, str(reason))
    return started


def left_out(title: str, name: str, reason: str, columns: int) -> None:
    print(f"| {title} | {name} | left out: {reason} {'| ' * (columns - 3)}|", flush=True)


def table(flags, net: Net, threads: int, fastest: dict[str, Contestant]) -> None:
    """Print the rows of a net."""
    title = f"{net.name}, {net.size[0]} x {net.size[1]}, {net.multiply_adds / 1e9:.2f} GMAC"
    with contextlib.ExitStack() as stack:
        asked = {name: name for name in flags.runtimes}
        started = start(stack, asked, net.folder, threads, lambda *why: left_out(title, *why, columns=8))
        turns = take_turns(started | fastest, flags.rounds, flags.steps)

    def milliseconds(name):
        return [turn["milliseconds"] for turn in turns[name]]

    others = [name for name in started if TYPES[name] == "float32" and not name.startswith(OWN)]
    best = min(others, key=lambda name: statistics.median(milliseconds(name)), default=None)
    for name, contestant in started.items():
        taken, kind = milliseconds(name), TYPES[name]
        speed = [2 * net.multiply_adds / 1e6 / value for value in taken]
        faster = share = "-"
        if best:
            faster = spread([a / b for a, b in zip(milliseconds(best), taken, strict=True)], ".2f")
        if kind in fastest:
            rates = [fastest[kind].first["operations"] / 1e6 / value for value in milliseconds(kind)]
            share = spread([100 * a / b for a, b in zip(speed, rates, strict=True)], ".0f") + " %"
        cpu = statistics.median(turn["cpu_milliseconds"] for turn in turns[name])
        difference = contestant.first["difference"]
        cells = (title, name, spread(taken), faster, spread(speed), share, f"{cpu:.1f}", f"{difference:.1e}")
        print("|", " | ".join(cells), "|", flush=True)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", type=Path, nargs="*", help="folders of runs, or .keras files")
    parser.add_argument("--image-size", type=positive, default=320, help="image size of nets with random weights")
    parser.add_argument("--threads", type=positive, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=positive, default=7)
    parser.add_argument("--steps", type=positive, default=10, help="runs in a round")
    names = ", ".join(TYPES)
    parser.add_argument("--runtimes", nargs="+", choices=TYPES, default=list(TYPES), metavar="NAME", help=names)
    parser.add_argument("--contestant", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


def positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not above 0")
    return number


if __name__ == "__main__":
    main()
