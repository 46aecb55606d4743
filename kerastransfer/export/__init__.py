"""Exports models as SavedModel and as LiteRT files in three precisions, checks their parity, and runs such files.

Modules that write files need TensorFlow; `predictor` and the modules that it imports need only ai-edge-litert, numpy
and pillow. `kerastransfer.export(...)` calls `kerastransfer.api.export`.
"""

from kerastransfer.callable_module import make_callable

make_callable(__name__)
