"""Packages that can be called: `kerastransfer.data("toy")` and `kerastransfer.export(model, ...)`."""

import importlib
import sys
import types
from typing import Any


class CallableModule(types.ModuleType):
    """A module that, when called, calls the function of its own name in `kerastransfer.api`."""

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        function = getattr(importlib.import_module("kerastransfer.api"), self.__name__.rpartition(".")[2])
        return function(*arguments, **options)


def make_callable(name: str) -> None:
    """Make the module of this name callable."""
    sys.modules[name].__class__ = CallableModule
