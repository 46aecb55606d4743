"""The command line in a test, here or in a process of its own."""

import subprocess
import sys

from kerastransfer import cli

# Runs the command line where TensorFlow must not be imported.
BARE = """if True:
    import sys
    from kerastransfer import cli
    try:
        cli.main(sys.argv[1:])
    finally:
        assert not {"tensorflow", "keras"} & set(sys.modules), "TensorFlow was imported"
"""


def code_of(argv):
    """The exit code of the command line, run here."""
    try:
        cli.main([str(argument) for argument in argv])
    except SystemExit as ended:
        return ended.code or 0
    return 0


def in_a_process(code, *argv):
    return subprocess.run([sys.executable, "-c", code, *map(str, argv)], capture_output=True, text=True)
