"""What is known of published weights: the files, what they were trained on, and their licence."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class File:
    """A file that its owner publishes at `address`. size: in bytes."""

    address: str
    size: int
    sha256: str

    @property
    def name(self) -> str:
        return self.address.rpartition("/")[2]


@dataclasses.dataclass(frozen=True)
class Preset:
    """A detector of Darknet with published weights.

    net: the name of its cfg in `models.darknet_nets`, or the file of its cfg.
    masks: the anchors of each grid in training, coarsest first, where they are not those of the cfg.
    labels: names of its classes.
    """

    weights: File
    net: str | File
    labels: tuple[str, ...]
    trained_on: str
    licence: str
    masks: tuple[tuple[int, ...], ...] | None = None

    @property
    def files(self) -> tuple[File, ...]:
        """All files that it needs."""
        return (self.weights, self.net) if isinstance(self.net, File) else (self.weights,)


@dataclasses.dataclass(frozen=True)
class Application:
    """A classifier of keras.applications, which Keras downloads and keeps in a cache of its own (KERAS_HOME).

    builder: its name there. preprocessing: a name in `encoders.preprocessing`.
    """

    builder: str
    preprocessing: str
    trained_on: str = "ImageNet classes, 224 px"
    licence: str = "Keras's, Apache 2.0"
    files: tuple[File, ...] = ()
