"""A description of the machine, in two lines."""

import importlib.metadata
import os
import platform
import re
from pathlib import Path


def describe(*packages: str) -> str:
    """The CPU, the cores that this process may use, vector and matrix units; versions of Python and of `packages`."""
    info = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    model = re.search(r"model name\s*: (.*)", info)
    flags = set(re.search(r"^flags\s*: (.*)", info, re.MULTILINE)[1].split()) if "flags" in info else set()
    units = [flag for flag in ("avx2", "avx512f", "avx512_bf16", "amx_bf16", "amx_int8") if flag in flags]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    versions = [f"python {platform.python_version()}", *(f"{name} {_version(name)}" for name in packages)]
    processor = model[1] if model else platform.processor() or platform.machine()
    return f"{processor}, {cores} cores, {' '.join(units) or 'no known units'}\n{', '.join(versions)}"


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "missing"
