"""A number that is learnt."""

import keras


@keras.saving.register_keras_serializable(package="kerastransfer")
class Scale(keras.layers.Layer):
    """Multiplies its input by one number that is learnt, at first 1 (FCOS, Tian et al. 2019, section 3.2: a scalar for
    each level of the pyramid). It computes in float32."""

    def __init__(self, **kwargs):
        super().__init__(**{**kwargs, "dtype": "float32"})

    def build(self, input_shape):
        self.factor = self.add_weight(name="factor", shape=(), initializer="ones")

    def call(self, x):
        return x * self.factor

    def compute_output_shape(self, input_shape):
        return input_shape
