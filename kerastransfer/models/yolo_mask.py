"""YOLO-Mask: YOLOv3 with a branch that draws a mask in each box (paper B sections 3 and 4; spec/03).

One network, {"image", "boxes", "levels"} to raw maps and logits of masks, and two graphs around its parts: `trainer`,
which finds the boxes to learn from in the truth and among the detections, and `instances`, which is exported.
"""

import math
from collections.abc import Sequence

import keras
from keras import ops

from kerastransfer.codecs.mask import MaskCodec
from kerastransfer.heads.mask import fcn
from kerastransfer.layers.pyramid_roi_align import PyramidRoIAlign
from kerastransfer.layers.roi_align import RoIAlign
from kerastransfer.models.parts import feed
from kerastransfer.ops.fpn import fpn_level
from kerastransfer.ops.nms import first_that_stay, non_max_suppression

DETECTOR = ("encoder", "decoder", "head")  # the parts that the mask branch is added to


def yolo_mask(
    detector: keras.Model, num_classes: int, *, fine: Sequence[str] = (), filters: int = 256, **options
) -> keras.Model:
    """{"image": (B, H, W, 3), "boxes": (B, N, (y1, x1, y2, x2)), "levels": (B, N)} to the detector's raw maps and
    "masks": logits (B, N, M, M, num_classes). The detector's parts are shared, and the new one is called "branch".

    levels: for each box the number of its map, the finest first: the one whose grid found the box (paper B section
        3.4), or by `ops.fpn.fpn_level`.
    num_classes: of the masks; 1 for masks that know no class.
    fine: taps of the encoder ("c2", "c3") that every box is pooled from as well (ours): the detector's maps are coarse.
    filters: width of the branch; `options` go to `heads.mask.fcn` (pool, mask_size, convs, activation, batch_norm).
    """
    encoder, decoder, head = (detector.get_layer(part) for part in DETECTOR)
    image = keras.Input(encoder.input.shape[1:], name="image")
    boxes = keras.Input((None, 4), name="boxes", dtype="float32")
    levels = keras.Input((None,), name="levels", dtype="int32")
    taps = encoder(image)
    maps = feed(decoder, taps)
    part = branch(
        {name: decoder.output[name].shape[-1] for name in sorted(decoder.output)},
        {name: encoder.output[name].shape[-1] for name in fine},
        num_classes,
        filters=filters,
        **options,
    )
    masks = feed(part, {**maps, **taps, "boxes": boxes, "levels": levels})
    inputs = {"image": image, "boxes": boxes, "levels": levels}
    return keras.Model(inputs, {**feed(head, maps), "masks": masks}, name="yolo_mask")


def branch(
    maps: dict[str, int], fine: dict[str, int], num_classes: int, *, filters: int = 256, pool: int = 14, **options
) -> keras.Model:
    """{"p3": (B, h, w, D), ..., "boxes": (B, N, 4), "levels": (B, N)} to logits (B, N, M, M, num_classes).

    maps, fine: channels of the detector's maps, one of which a box is pooled from, and of taps that it is pooled from
    in any case. Each passes a 1 x 1 convolution first, because their channels differ; what is pooled is summed.
    """
    inputs = {name: keras.Input((None, None, depth), name=name) for name, depth in {**maps, **fine}.items()}
    inputs["boxes"] = keras.Input((None, 4), name="boxes", dtype="float32")
    inputs["levels"] = keras.Input((None,), name="levels", dtype="int32")

    def lateral(name):
        return keras.layers.Conv2D(filters, 1, name=f"lateral_{name}")(inputs[name])

    pooled = PyramidRoIAlign(pool, name="pyramid")([lateral(name) for name in maps], inputs["boxes"], inputs["levels"])
    for name in fine:
        also = RoIAlign(pool, name=f"pool_{name}")(lateral(name), inputs["boxes"])
        pooled = keras.layers.Add(name=f"with_{name}")([pooled, also])
    masks = fcn(filters, num_classes, pool=pool, filters=filters, name="masks", **options)
    return keras.Model(inputs, feed(masks, {"rois": pooled}), name="branch")


def trainer(network: keras.Model, codec, mask_codec: MaskCodec, *, proposals: int = 50) -> keras.Model:
    """A graph over the parts of `network` to train them with: {"image", "boxes", "labels", "masks", "frames"} (the
    batches of `data.pipeline`) to the raw maps, "masks": logits, and "labels" and "targets" of `MaskCodec.encode`.

    The boxes it learns from are those of the truth, and of so many detections those that meet a truth.
    """
    image = keras.Input(network.input["image"].shape[1:], name="image")
    annotations = {
        "boxes": keras.Input((None, 4), name="boxes", dtype="float32"),
        "labels": keras.Input((None,), name="labels", dtype="int32"),
        "masks": keras.Input((None, None, None), name="masks", dtype="uint8"),
        "frames": keras.Input((None, 4), name="frames", dtype="float32"),
    }
    taps, maps, raw = _detect(network, image)
    limits = {"max_detections": proposals, "candidates": 10 * proposals}  # a thousand take most of a step's time
    options = {"iou_threshold": 0.6, "score_threshold": 0.01, **limits}
    found = Detect(codec, mask_codec.level, name="proposals", **options)(raw)
    rois = Rois(codec, mask_codec, name="rois")(annotations, found["boxes"], raw)
    part = network.get_layer("branch")
    masks = feed(part, {**maps, **taps, "boxes": rois["boxes"], "levels": rois["levels"]})
    outputs = {**raw, "masks": masks, "labels": rois["labels"], "targets": rois["targets"]}
    return keras.Model({"image": image, **annotations}, outputs, name=network.name)


def instances(
    network: keras.Model,
    codec,
    mask_codec: MaskCodec,
    image_size: tuple[int, int] | None = None,
    *,
    iou_threshold: float = 0.5,
    score_threshold: float = 0.001,
    max_detections: int = 100,
) -> keras.Model:
    """Image (B, H, W, 3) to {"boxes": (B, N, 4), "scores": (B, N), "labels": (B, N), "masks": (B, N, M, M) in
    0..1, "count": (B,)}, N = max_detections rows by falling score, padded with zeros and label -1."""
    image = keras.Input((*(image_size or (None, None)), 3), name="image")
    taps, maps, raw = _detect(network, image)
    options = {"iou_threshold": iou_threshold, "score_threshold": score_threshold, "max_detections": max_detections}
    found = Detect(codec, mask_codec.level, name="detect", **options)(raw)
    part = network.get_layer("branch")
    logits = feed(part, {**maps, **taps, "boxes": found["boxes"], "levels": found.pop("levels")})
    masks = DecodeMasks(mask_codec, name="masks")(logits, found["labels"])
    return keras.Model(image, {**found, "masks": masks}, name=network.name)


def levels_by_shape(codec, boxes, grids):
    """(B, N, 4) to (B, N): the number of the level that learns boxes of this shape."""
    (rows, columns), (_, stride, _) = grids[0], codec.levels[0]
    return codec.levels_of(boxes, (rows * stride, columns * stride))


def levels_by_area(codec, boxes, grids):
    """(B, N, 4) to (B, N): the number of the level by the rule of feature pyramids, as far as there are such."""
    (rows, columns), (_, stride, _) = grids[0], codec.levels[0]
    smallest, largest = (int(math.log2(codec.levels[end][1])) for end in (0, -1))
    return fpn_level(boxes, (rows * stride, columns * stride), smallest=smallest, largest=largest) - smallest


def _detect(network, image):
    """Taps, maps and raw maps of the detector within."""
    encoder, decoder, head = (network.get_layer(part) for part in DETECTOR)
    taps = encoder(image)
    maps = feed(decoder, taps)
    return taps, maps, feed(head, maps)


@keras.saving.register_keras_serializable(package="kerastransfer")
class Detect(keras.layers.Layer):
    """Raw maps to {"boxes", "scores", "labels", "count"} of `ops.nms.non_max_suppression`, and "levels" (B, N) int32:
    the number of the level of each box, by `level` of `MaskCodec`."""

    choose = staticmethod(first_that_stay)

    def __init__(
        self,
        codec,
        level: str,
        *,
        iou_threshold: float,
        score_threshold: float,
        max_detections: int,
        candidates: int | None = None,
        **kwargs,
    ):
        super().__init__(**{**kwargs, "dtype": "float32"})
        self.codec, self.level = codec, level
        self.options = {
            "iou_threshold": iou_threshold,
            "score_threshold": score_threshold,
            "max_detections": max_detections,
            "candidates": candidates,
        }

    def call(self, raw):
        boxes, scores = self.codec.decode(raw)
        found = non_max_suppression(boxes, scores, numbered=True, choose=self.choose, **self.options)
        grids, candidates = self.codec.grids(raw), found.pop("candidates")
        if self.level == "fpn":
            found["levels"] = levels_by_area(self.codec, found["boxes"], grids)
        else:
            found["levels"] = self.codec.levels_of_candidates(candidates, grids)
        return found

    def compute_output_spec(self, raw):
        batch = next(iter(raw.values())).shape[0]
        rows = (batch, self.options["max_detections"])
        return {
            "boxes": keras.KerasTensor((*rows, 4), "float32"),
            "scores": keras.KerasTensor(rows, "float32"),
            "labels": keras.KerasTensor(rows, "int32"),
            "count": keras.KerasTensor((batch,), "int32"),
            "levels": keras.KerasTensor(rows, "int32"),
        }

    def get_config(self):
        codec = keras.saving.serialize_keras_object(self.codec)
        return {**super().get_config(), "codec": codec, "level": self.level, **self.options}

    @classmethod
    def from_config(cls, config):
        return cls(**{**config, "codec": keras.saving.deserialize_keras_object(config["codec"])})


@keras.saving.register_keras_serializable(package="kerastransfer")
class Rois(keras.layers.Layer):
    """Annotations, proposals (B, A, 4) and raw maps to what `MaskCodec.encode` gives, and "levels" (B, R)."""

    def __init__(self, codec, mask_codec, **kwargs):
        super().__init__(**{**kwargs, "dtype": "float32", "autocast": False})
        self.codec, self.mask_codec = codec, mask_codec

    def call(self, annotations, proposals, raw):
        rois = self.mask_codec.encode(annotations, proposals)
        rule = levels_by_area if self.mask_codec.level == "fpn" else levels_by_shape
        return {**rois, "levels": rule(self.codec, rois["boxes"], self.codec.grids(raw))}

    def compute_output_spec(self, annotations, proposals, raw):
        side = self.mask_codec.mask_size
        rows = (annotations["labels"].shape[0], None)
        return {
            "boxes": keras.KerasTensor((*rows, 4), "float32"),
            "labels": keras.KerasTensor(rows, "int32"),
            "targets": keras.KerasTensor((*rows, side, side), "float32"),
            "levels": keras.KerasTensor(rows, "int32"),
        }

    def get_config(self):
        codecs = {"codec": self.codec, "mask_codec": self.mask_codec}
        return {
            **super().get_config(),
            **{name: keras.saving.serialize_keras_object(value) for name, value in codecs.items()},
        }

    @classmethod
    def from_config(cls, config):
        codecs = {name: keras.saving.deserialize_keras_object(config[name]) for name in ("codec", "mask_codec")}
        return cls(**{**config, **codecs})


@keras.saving.register_keras_serializable(package="kerastransfer")
class DecodeMasks(keras.layers.Layer):
    """Logits (B, N, M, M, K) and labels (B, N) to probabilities (B, N, M, M), zeros where the label is -1."""

    def __init__(self, mask_codec, **kwargs):
        super().__init__(**{**kwargs, "dtype": "float32"})
        self.mask_codec = mask_codec

    def call(self, logits, labels):
        found = ops.cast(ops.reshape(labels >= 0, (*ops.shape(labels), 1, 1)), "float32")
        return self.mask_codec.decode(logits, labels) * found

    def compute_output_shape(self, logits_shape, labels_shape):
        return logits_shape[:-1]

    def get_config(self):
        return {**super().get_config(), "mask_codec": keras.saving.serialize_keras_object(self.mask_codec)}

    @classmethod
    def from_config(cls, config):
        return cls(**{**config, "mask_codec": keras.saving.deserialize_keras_object(config["mask_codec"])})
