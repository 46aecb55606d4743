"""The one exception for mistakes that the user can fix."""


class UserError(Exception):
    """Bad input. The message is one line that says what was given, what is needed and what to do.

    The command line prints the message without a traceback and exits with code 2.
    """
