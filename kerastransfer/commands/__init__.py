"""The subcommands of the console script: a module for each, with a function of the same name.

What is slow to import is imported inside the functions, and .tflite files run without TensorFlow.
"""

from kerastransfer.commands import advise, compare, convert, datasets, evaluate, export, predict, presets, recipes

COMMANDS = {
    "recipes": recipes.recipes,
    "datasets": datasets.datasets,
    "presets": presets.presets,
    "advise": advise.advise,
    "evaluate": evaluate.evaluate,
    "predict": predict.predict,
    "compare": compare.compare,
    "export": export.export,
    "convert": convert.convert,
}
