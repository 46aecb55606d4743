"""Makes every layer and codec of the package known to Keras: after `import kerastransfer.registered`, a saved model
that holds some of them opens with `keras.saving.load_model`."""

import keras

import kerastransfer.layers
from kerastransfer.codecs import layers, mask, masked_boxes, yolov1, yolov3
from kerastransfer.losses import compiled

ROOMS = (kerastransfer.layers, layers, mask, masked_boxes, yolov1, yolov3, compiled)
OBJECTS = {
    name: value for name, value in keras.saving.get_custom_objects().items() if name.startswith("kerastransfer>")
}
