"""From files to examples to batches. `kerastransfer.data(...)` is `kerastransfer.api.data`."""

from kerastransfer.callable_module import make_callable

make_callable(__name__)
