"""Native libraries write their progress to the file descriptors; `silenced` keeps it for when it is needed."""

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator

from kerastransfer.errors import UserError


@contextlib.contextmanager
def silenced() -> Iterator[None]:
    """Hold back all that is written to standard output and error, by native code too.

    It is shown if the block raises, but for a UserError, which has said what matters. For the whole process, so for one
    thread at a time.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    saved = os.dup(1), os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 1)
        os.dup2(held.fileno(), 2)
        show = False
        try:
            yield
        except UserError:
            raise
        except BaseException:
            show = True
            raise
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            for number, descriptor in enumerate(saved, start=1):
                os.dup2(descriptor, number)
                os.close(descriptor)
            if show:
                held.seek(0)
                os.write(2, held.read())
