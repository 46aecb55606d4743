"""What `--precision auto` means on this machine. Keras and TensorFlow are imported only where they are needed."""

from pathlib import Path

from kerastransfer.silence import silenced

CPUINFO = Path("/proc/cpuinfo")
# Flags of processors with instructions that multiply bfloat16 numbers.
BFLOAT16_FLAGS = frozenset({"amx_bf16", "avx512_bf16"})
# Lowest compute capability of NVIDIA GPUs whose tensor cores support bfloat16: Ampere and later.
LEAST_CAPABILITY = (8, 0)


def resolved(precision: str, *, jit: bool = False, alone: bool = True) -> str:
    """`precision`, or, if it is "auto", the one that trains fastest here: "bfloat16" or "float32".

    jit: whether XLA compiles the training step.
    alone: whether this process is the only worker. Several workers must agree, but each sees only its own machine, so
        for them "auto" is float32.
    """
    if precision != "auto":
        return precision
    if not alone:
        return "float32"
    import keras

    backend = keras.backend.backend()
    capabilities = gpu_capabilities(backend)
    if capabilities:
        return "bfloat16" if min(capabilities) >= LEAST_CAPABILITY else "float32"
    # On CPUs XLA converts to float32 and back, which makes convolutions slower than in float32.
    return "bfloat16" if backend == "tensorflow" and not jit and cpu_computes_bfloat16() else "float32"


def cpu_computes_bfloat16(cpuinfo: Path = CPUINFO) -> bool:
    """Whether the processor has instructions for bfloat16, according to the flags that Linux lists; False on other
    systems."""
    try:
        text = cpuinfo.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    flags = (line.partition(":")[2].split() for line in text.splitlines() if line.startswith("flags"))
    return not BFLOAT16_FLAGS.isdisjoint(next(flags, []))


def gpu_capabilities(backend: str) -> list[tuple[int, int]]:
    """The compute capability (major, minor) of every GPU that Keras sees on this backend; (0, 0) for a GPU that reports
    none."""
    if backend == "jax":
        import jax

        found = [getattr(device, "compute_capability", "") for device in jax.devices() if device.platform == "gpu"]
        return [_version(text) for text in found]
    if backend == "tensorflow":
        import tensorflow as tf

        # TensorFlow prints warnings on machines without a GPU.
        with silenced():
            visible = tf.config.get_visible_devices("GPU")
        details = map(tf.config.experimental.get_device_details, visible)
        return [detail.get("compute_capability", (0, 0)) for detail in details]
    return []


def _version(text: str) -> tuple[int, int]:
    major, _, minor = str(text).partition(".")
    return (int(major), int(minor or 0)) if major.isdecimal() and (minor or "0").isdecimal() else (0, 0)
