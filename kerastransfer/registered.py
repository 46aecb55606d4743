"""Registers all layers and codecs of the package with Keras: after `import kerastransfer.registered`,
`keras.saving.load_model` opens saved models that contain them."""

import keras

import kerastransfer.layers
from kerastransfer.codecs import faster_rcnn, fcos, labelenc, layers, mask, masked_boxes, retinanet, yolov1, yolov3
from kerastransfer.losses import compiled

CODECS = (layers, mask, masked_boxes, yolov1, yolov3, retinanet, fcos, faster_rcnn, labelenc)
ROOMS = (kerastransfer.layers, *CODECS, compiled)
OBJECTS = {
    name: value for name, value in keras.saving.get_custom_objects().items() if name.startswith("kerastransfer>")
}
