"""Model cards: README.md beside models, in the form of Hugging Face's (Mitchell et al. 2019, "Model Cards for Model
Reporting"). They say what a model is for, what it was trained on, its scores, its licence, and how to load it."""

import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from kerastransfer import __version__, files, presets
from kerastransfer.runs import sharing

PIPELINES = {
    "detection": "object-detection",
    "instances": "image-segmentation",
    "segmentation": "image-segmentation",
    "classification": "image-classification",
}
WHAT = {
    "detection": "finds objects in boxes",
    "instances": "finds objects and their masks",
    "segmentation": "gives a class to each pixel",
    "classification": "gives a class to each image",
}
# Settings that say where weights came from.
STARTS = ("encoder", "start")
LONGEST_LIST = 20


def of_run(run: Path) -> str | None:
    """The card of all whole models in RUN/models, or None where there are none."""
    models = {path: found for path in sorted((run / "models").glob("*.keras")) if (found := described(path))}
    # Models of volumes are described in another way, by their recipe.
    models = {path: about for path, about in models.items() if about.get("task") in WHAT}
    return card(run.name, models) if models else None


def of_model(path: Path, file: str) -> str:
    """The card of one model in RUN/models, or anywhere, that is to be called `file`."""
    return card(path.stem, {path: described(path) or {}}, file)


def described(path: Path) -> dict[str, Any] | None:
    """NAME.json beside NAME.keras, or None."""
    return files.read_json(path.with_suffix(".json"))


def card(title: str, models: Mapping[Path, Mapping[str, Any]], file: str | None = None) -> str:
    """Markdown. models: {path: its NAME.json}, all of one folder. file: what its readers call a single model."""
    first = next(iter(models))
    run = first.parent.parent
    metrics = files.read_json(run / "metrics.json", {}) if first.parent.name == "models" else {}
    settings = _settings(run) if metrics else {}
    tasks = sorted({about["task"] for about in models.values()})
    return "\n".join(
        [
            *_front(tasks),
            f"# {plain(title)}",
            "",
            f"Made with kerastransfer {__version__} (Keras 3).",
            "",
            "## Models",
            "",
            *_models(models, file),
            *_data(metrics, settings),
            *_scores(models, metrics, _remarks(run) if metrics else ""),
            *_licence(settings),
            *_use(file or first.name),
        ]
    )


def _front(tasks: list[str]) -> list[str]:
    pipelines = list(dict.fromkeys(PIPELINES[task] for task in tasks))
    tags = ["kerastransfer", *pipelines]
    return [
        "---",
        "library_name: keras",
        *([f"pipeline_tag: {pipelines[0]}"] if len(pipelines) == 1 else []),
        "tags:",
        *(f"- {tag}" for tag in tags),
        "---",
    ]


def _models(models: Mapping[Path, Mapping[str, Any]], file: str | None) -> Iterator[str]:
    yield "| file | what it does | reads | classes |"
    yield "| --- | --- | --- | --- |"
    for path, about in models.items():
        height, width = about["image_size"]
        names = [plain(name) for name in about["labels"]]
        more = f", and {len(names) - LONGEST_LIST} more" if len(names) > LONGEST_LIST else ""
        yield (
            f"| `{file or path.name}` | {WHAT[about['task']]} | {height} x {width} pixels, RGB in 0..255, "
            f"{about.get('resize', 'stretch')} | {', '.join(names[:LONGEST_LIST])}{more} |"
        )
    yield ""


def _data(metrics: Mapping[str, Any], settings: Mapping[str, Any]) -> Iterator[str]:
    if not metrics:
        return
    seeds = metrics.get("seeds") or [metrics.get("seed")]
    yield from ("## Training", "")
    yield f"- recipe: `python -m kerastransfer.recipes.{metrics['recipe']}`; all settings are in the run's config.toml"
    # The name of a folder, not where it is on the owner's disk.
    yield f"- data: {plain(Path(str(metrics['data'])).name)}, split by rule `{settings.get('split', 'auto')}`"
    yield f"- seed: {', '.join(map(str, seeds))}"
    yield from (f"- `--{name} {_start(settings[name])}`" for name in STARTS if settings.get(name))
    yield ""


def _start(source: str) -> str:
    """A name or an address as it is, of a file its name alone."""
    return source if source.startswith((presets.HUB, sharing.HUGGING_FACE)) else Path(source).name


def _scores(models: Mapping[Path, Mapping[str, Any]], metrics: Mapping[str, Any], remarks: str) -> Iterator[str]:
    found = {path.stem: metrics.get("results", {}).get(path.stem, {}) for path in models}
    rows = [
        (name, metric, value)
        for name, values in found.items()
        for metric, value in values.items()
        if "/" not in metric and isinstance(value, int | float)
    ]
    if not rows:
        return
    yield from ("## Scores", "", f"On test images, which were not trained on. {remarks}".strip(), "")
    yield from ("| model | score | value |", "| --- | --- | --- |")
    yield from (f"| {name} | {metric} | {value:.4g} |" for name, metric, value in rows)
    yield ""


def _remarks(run: Path) -> str:
    """What phases of the run say that its scores must not be read without."""
    results = [phase.get("result") or {} for phase in files.read_json(run / "phases.json", {}).values()]
    return " ".join(dict.fromkeys(result["remark"] for result in results if "remark" in result))


def _licence(settings: Mapping[str, Any]) -> Iterator[str]:
    yield from ("## Licence", "")
    for name in STARTS:
        if preset := presets.PRESETS.get(settings.get(name, "")):
            yield f"- the weights that training began with, {settings[name]}: {preset.licence}"
    yield "- the training images and annotations: as their owners say; whoever passes the model on adds it here"
    yield "- kerastransfer: Apache-2.0"
    yield ""


def _use(file: str) -> Iterator[str]:
    yield from ("## Use", "", "```python", "import kerastransfer as kt", "")
    yield f'print(kt.load("{file}").predict("photo.jpg").in_words())'
    yield from (f'model = kt.from_preset("{file}")  # a Keras model', "```", "")


def plain(text: str) -> str:
    """Text that cannot be read as Markdown or HTML."""
    return "".join(f"\\{letter}" if letter in "\\`*_{}[]<>()#+!|~$" else letter for letter in text)


def _settings(run: Path) -> dict[str, Any]:
    try:
        return tomllib.loads((run / "config.toml").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
