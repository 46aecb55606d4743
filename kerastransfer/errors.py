"""The one exception for mistakes that the user can fix."""


class UserError(Exception):
    """Bad input: one line that says what came, what was needed and what to do.

    The command line prints the message without a traceback and exits with code 2.
    """
