"""Makes every layer and codec of the package known to Keras: after `import kerastransfer.registered`, a saved model
that holds some of them opens with `keras.saving.load_model`."""

import keras

import kerastransfer.layers
from kerastransfer.codecs import layers, mask, yolov1, yolov3

ROOMS = (kerastransfer.layers, layers, mask, yolov1, yolov3)
OBJECTS = {
    name: value for name, value in keras.saving.get_custom_objects().items() if name.startswith("kerastransfer>")
}
