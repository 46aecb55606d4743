"""The one exception for mistakes that the user can fix."""

# Letters of a message: what a file says may be as long as the file.
LONGEST = 600


class UserError(Exception):
    """Bad input. The message is one line that says what was given, what is needed and what to do.

    The command line prints the message without a traceback and exits with code 2.
    """

    def __str__(self) -> str:
        return one_line(super().__str__(), 3 * LONGEST)


def one_line(text: str, most: int = LONGEST) -> str:
    """A text for a terminal: without line breaks, and without control characters, which could change what it shows."""
    text = "".join(letter if letter.isprintable() else "?" for letter in " ".join(text.split()))
    return text if len(text) <= most else f"{text[: most // 2]} ... {text[-most // 2 :]}"


class DiskFullError(UserError):
    """The disk is full. The command line adds --resume to the message where there is such a flag."""
