import logging
import os
import sys

import pytest

from kerastransfer.errors import UserError
from kerastransfer.silence import silenced


def speak():
    os.write(1, b"native output ")
    os.write(2, b"native error ")
    print("from Python")


def test_nothing_is_heard_unless_it_fails(capfd):
    with silenced():
        speak()
    assert capfd.readouterr() == ("", "")
    with pytest.raises(ValueError), silenced():
        speak()
        raise ValueError
    assert "native error" in capfd.readouterr().err
    with pytest.raises(UserError), silenced():
        speak()
        raise UserError("said it all")
    assert capfd.readouterr() == ("", "")
    print("heard again")
    assert capfd.readouterr().out == "heard again\n"


def test_a_logger_made_meanwhile_speaks_later(capsys):
    with silenced():
        logger = logging.Logger("made meanwhile")
        logger.addHandler(logging.StreamHandler(sys.stderr))
        logger.warning("held back")
    logger.warning("heard")
    assert capsys.readouterr().err == "heard\n"
