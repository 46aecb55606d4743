"""Model to file: SavedModel, LiteRT in three precisions with proof of parity, and what runs such a file.

Modules that write a file need TensorFlow; `predictor` and what it stands on need ai-edge-litert, numpy and pillow only.
`kerastransfer.export(...)` is `kerastransfer.api.export`.
"""

from kerastransfer.callable_module import make_callable

make_callable(__name__)
