"""What the families have in common that put a feature pyramid on any encoder."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from kerastransfer import presets
from kerastransfer.detectors.detector import STARTED, Detector, Purpose, Start, require_multiple
from kerastransfer.errors import UserError
from kerastransfer.flags import nearest, require_positive
from kerastransfer.presets.preset import Application

if TYPE_CHECKING:
    import keras

# Of the last tap that the pyramid reads; coarser maps round their sides up.
STRIDE = 32


@dataclasses.dataclass
class PyramidSettings:
    """Settings of all detectors with a feature pyramid."""

    encoder: str = "mobilenet-v2"
    """The encoder: a .keras file, such as RUN/models/encoder.keras; the name of published weights (`kerastransfer
    presets` lists them, and hub:NAME is one of keras-hub); or, with random weights, resnet18, resnet34, resnet50,
    resnet101 or resnet101_dcn. It needs maps of stride 8, 16 and 32."""
    random: bool = False
    """Start the encoder from random weights, for comparison."""
    channels: int = 256
    """Number of channels of the feature pyramid and of the head; 64 suits two CPU cores."""
    towers: int = 4
    """Number of convolutions in each tower of the head, before the last one; 2 suits two CPU cores."""
    norms: Literal["frozen", "trained"] = "frozen"
    """Whether the batch normalization of a trained encoder stays as it is, as is usual with small batches, or is
    trained."""

    def __post_init__(self) -> None:
        require_positive(self, "channels", "towers", prefix="net.")
        named = Path(self.encoder).name == self.encoder and not Path(self.encoder).suffix
        if named and not self.encoder.startswith(presets.HUB) and self.encoder not in presets.PRESETS:
            # Imports Keras, so it comes last.
            from kerastransfer.encoders import ENCODERS

            if self.encoder not in ENCODERS:
                near = nearest(self.encoder, (*presets.PRESETS, *ENCODERS))
                raise UserError(
                    f"unknown --net.encoder {self.encoder}; give a .keras file, choose {', '.join(presets.PRESETS)}, "
                    f"or with random weights {', '.join(ENCODERS)} (nearest: {near})"
                )


def detector(
    settings: PyramidSettings,
    purpose: Purpose,
    codec: Any,
    make: "Callable[[keras.Model], keras.Model]",
    terms: Callable,
    weights: dict[str, float],
) -> Detector:
    """The detector that `make` puts on the encoder of the settings. Raises UserError for an image size that does not
    fit, and for an encoder that cannot be opened or has no map of a stride."""
    require_multiple(purpose.image_size, STRIDE, "the encoder of a feature pyramid")

    def network() -> "keras.Model":
        return make(opened(settings, purpose))

    return Detector(network, codec, terms, weights, STRIDE, ("encoder",) if _trained(settings) else ())


def _trained(settings):
    """Whether the encoder has trained weights."""
    from kerastransfer.encoders import ENCODERS

    return not settings.random and settings.encoder not in ENCODERS


def opened(settings: PyramidSettings, purpose: Purpose) -> "keras.Model":
    """The encoder of the settings, computing in the current dtype policy."""
    from kerastransfer.encoders import ENCODERS
    from kerastransfer.models.applications import application
    from kerastransfer.models.parts import freeze_norms

    if settings.encoder in ENCODERS:
        return ENCODERS[settings.encoder]()
    if settings.random and isinstance(presets.PRESETS.get(settings.encoder), Application):
        # Its weights need not be downloaded.
        purpose = dataclasses.replace(purpose, encoder=lambda name: application(presets.PRESETS[name], weights=None))
    encoder = purpose.in_policy(settings.encoder)
    if settings.random:
        # Its layers start anew, from the seed of the run.
        return encoder.__class__.from_config(encoder.get_config())
    if settings.norms == "frozen":
        freeze_norms(encoder)
    return encoder


def started(
    settings: PyramidSettings,
    start: Start,
    purpose: Purpose,
    codec: Any,
    terms: Callable,
    weights: dict[str, float],
    renamed: "Callable[[keras.Model, keras.Model], keras.Model] | None" = None,
) -> Detector:
    """The detector `start` for the classes of `purpose`, with the codec `codec` of the same anchors or places.

    renamed: a function from its network and its encoder in the current dtype policy to the network for these classes;
        `models.new_classes.with_classes` by default.
    """
    start.refuse(settings, "encoder", "random", "channels", "towers")
    require_multiple(purpose.image_size, STRIDE, start.source)

    def network() -> "keras.Model":
        import keras

        from kerastransfer.models.new_classes import with_classes
        from kerastransfer.models.parts import freeze_norms
        from kerastransfer.models.rewrite import with_policy

        source = start.network()
        if renamed is None:
            network = with_classes(source, start.codec, codec, start.labels, purpose.classes)
        else:
            policy = keras.mixed_precision.global_policy().name
            network = renamed(source, with_policy(source.get_layer("encoder"), policy))
        if settings.norms == "frozen":
            freeze_norms(network.get_layer("encoder"))
        return network

    return Detector(network, codec, terms, weights, STRIDE, STARTED, fresh=start.fresh(purpose.classes))
