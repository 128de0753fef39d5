"""The nets that inference.py compares, in Keras: one-bit for Larq, and their float32 ReLU twins.

In: a net's name, a form and a batch size. Out: a Keras model with seeded random weights, whose
batch norms have gammas of both signs and the statistics of random images. Needs the environment
`larq`, with TF_USE_LEGACY_KERAS=1 set.
"""

import larq
import numpy as np
import tensorflow as tf

keras = tf.keras
SEED = 7
# Enough images for batch statistics, few enough for 224x224.
N_CALIBRATION_VALUES = 1_200_000


class Binary:
    """One-bit layers. Their sign is the quantizer of the next layer's input."""

    def __init__(self, kernel_quantizer="ste_sign", pad_values=1.0):
        self.quantizer = kernel_quantizer
        self.pad_values = pad_values

    def act(self, x):
        return x

    def first_conv(self, x, filters, padding):
        """3x3 on the image: float inputs, one-bit weights."""
        return larq.layers.QuantConv2D(
            filters, 3, padding=padding, kernel_quantizer=self.quantizer, use_bias=False
        )(x)

    def conv(self, x, filters, kernel=3, strides=1, padding="same", activation=None):
        return larq.layers.QuantConv2D(
            filters,
            kernel,
            strides=strides,
            padding=padding,
            pad_values=self.pad_values if padding == "same" else 0.0,
            activation=activation,
            input_quantizer="ste_sign",
            kernel_quantizer=self.quantizer,
            kernel_constraint="weight_clip",
            use_bias=False,
        )(x)

    def dense(self, x, units):
        """A convolution that sees the whole image: the engine has no one-bit dense layer."""
        return self.conv(x, units, kernel=x.shape[1:3], padding="valid")


class BinaryDense(Binary):
    """The same with dense layers as people write them, which the engine runs as floats."""

    def dense(self, x, units):
        if len(x.shape) > 2:
            x = keras.layers.Flatten()(x)
        return larq.layers.QuantDense(
            units, input_quantizer="ste_sign", kernel_quantizer=self.quantizer, use_bias=False
        )(x)


class Float:
    """The twin: float32 weights, ReLU where the one-bit net has its sign, batch norms that fold."""

    def act(self, x):
        return keras.layers.ReLU()(x)

    def first_conv(self, x, filters, padding):
        return self.conv(x, filters, padding=padding)

    def conv(self, x, filters, kernel=3, strides=1, padding="same", activation=None):
        # A ReLU between convolution and batch norm could not fold, and no float net has it.
        return keras.layers.Conv2D(
            filters,
            kernel,
            strides=strides,
            padding=padding,
            kernel_initializer="he_normal",
            use_bias=False,
        )(x)

    def dense(self, x, units):
        if len(x.shape) > 2:
            x = keras.layers.Flatten()(x)
        return keras.layers.Dense(units, kernel_initializer="he_normal", use_bias=False)(x)


def norm(x):
    """Batch norm whose moving statistics are those of the last batch, for `calibrate`."""
    return keras.layers.BatchNormalization(
        momentum=0.0,
        gamma_initializer=signed_gamma,
        beta_initializer=keras.initializers.RandomNormal(0.0, 0.3),
    )(x)


def signed_gamma(shape, dtype=None):
    """0.5 to 1.5 with either sign."""
    signs = tf.where(tf.random.uniform(shape) < 0.5, -1.0, 1.0)
    return signs * tf.random.uniform(shape, 0.5, 1.5)


def hidden(make, x, units):
    return make.act(norm(make.dense(x, units)))


def max_pool(x):
    return keras.layers.MaxPool2D(2)(x)


def lfc(make, x):
    """784-1024-1024-1024-10."""
    for _ in range(3):
        x = hidden(make, x, 1024)
    return norm(make.dense(x, 10))


def cnv(make, x):
    """FINN's CNV: 2x64C3-MP2-2x128C3-MP2-2x256C3-512FC-512FC-10FC, no padding."""
    x = make.act(norm(make.first_conv(x, 64, "valid")))
    x = max_pool(make.act(norm(make.conv(x, 64, padding="valid"))))
    x = make.act(norm(make.conv(x, 128, padding="valid")))
    x = max_pool(make.act(norm(make.conv(x, 128, padding="valid"))))
    for _ in range(2):
        x = make.act(norm(make.conv(x, 256, padding="valid")))
    for _ in range(2):
        x = hidden(make, x, 512)
    return norm(make.dense(x, 10))


def binarynet(make, x):
    """BinaryNet's VGG for CIFAR-10: 2x128C3-MP2-2x256C3-MP2-2x512C3-MP2-2x1024FC-10FC."""
    x = make.act(norm(make.first_conv(x, 128, "same")))
    x = max_pool(make.act(norm(make.conv(x, 128))))
    for filters in (256, 512):
        x = make.act(norm(make.conv(x, filters)))
        x = max_pool(make.act(norm(make.conv(x, filters))))
    for _ in range(2):
        x = hidden(make, x, 1024)
    return norm(make.dense(x, 10))


def quicknet(make, x):
    """QuickNet, 63.3 % on ImageNet: the topology of larq-zoo's version 1.0."""
    x = keras.layers.Conv2D(16, 3, padding="same", strides=2, use_bias=False)(x)
    x = keras.layers.ReLU()(norm(x))
    x = norm(keras.layers.DepthwiseConv2D(3, padding="same", strides=2, use_bias=False)(x))
    x = norm(keras.layers.Conv2D(64, 1, use_bias=False)(x))
    for filters in (64, 128, 256, 512):
        if filters != x.shape[-1]:
            x = keras.layers.MaxPool2D(2, strides=1)(keras.layers.ReLU()(x))
            x = keras.layers.DepthwiseConv2D(
                3, depthwise_initializer=blur, padding="same", strides=2, use_bias=False
            )(x)
            x = norm(keras.layers.Conv2D(filters, 1, use_bias=False)(x))
        for _ in range(4):
            x = keras.layers.add([norm(make.conv(make.act(x), filters, activation="relu")), x])
    return classifier(keras.layers.ReLU()(x))


def blur(shape, dtype=None):
    """Weights of anti-aliased pooling: the outer product of [1 2 1] / 4, in every channel."""
    line = np.array([1, 2, 1], np.float32) / 4
    return np.broadcast_to(np.outer(line, line)[:, :, None, None], shape)


def bireal18(make, x):
    """Bi-Real-Net 18 as larq-zoo has it."""
    x = norm(keras.layers.Conv2D(64, 7, strides=2, padding="same", use_bias=False)(x))
    x = keras.layers.MaxPool2D(3, strides=2, padding="same")(x)
    for filters in (64, 128, 256, 512):
        for _ in range(4):
            strides = 1 if filters == x.shape[-1] else 2
            shortcut = x
            if strides == 2:
                shortcut = keras.layers.AvgPool2D(2, strides=2, padding="same")(shortcut)
                shortcut = norm(keras.layers.Conv2D(filters, 1, use_bias=False)(shortcut))
            x = norm(make.conv(make.act(x), filters, strides=strides))
            x = keras.layers.add([x, shortcut])
    return classifier(x)


def classifier(x):
    x = keras.layers.Flatten()(keras.layers.AvgPool2D(x.shape[1:3])(x))
    return keras.layers.Softmax()(keras.layers.Dense(1000)(x))


def layers(n_layers):
    """3x3 convolutions in a row, bits between them."""

    def net(make, x):
        filters = x.shape[-1]
        for idx in range(n_layers):
            x = norm(make.conv(x, filters))
            x = make.act(x) if idx + 1 < n_layers else x
        return x

    return net


# name: (function, input shape)
NETS = {
    "lfc": (lfc, (1, 1, 784)),
    "cnv": (cnv, (32, 32, 3)),
    "binarynet": (binarynet, (32, 32, 3)),
    "quicknet": (quicknet, (224, 224, 3)),
    "bireal18": (bireal18, (224, 224, 3)),
}
# Channels and side of the image: the shapes of ResNet's four sections.
LAYER_SHAPES = {"64x56": (64, 56), "128x28": (128, 28), "256x14": (256, 14), "512x7": (512, 7)}
for _name, (_channels, _side) in LAYER_SHAPES.items():
    NETS[f"layers_{_name}"] = (layers(9), (_side, _side, _channels))
    NETS[f"layers_{_name}_1"] = (layers(1), (_side, _side, _channels))

FORMS = ("binary", "binary-dense", "float")


def maker(name, form):
    """The layers of a form."""
    if form == "float":
        return Float()
    if form == "binary-dense":
        return BinaryDense()
    if name == "bireal18":
        return Binary("magnitude_aware_sign", pad_values=0.0)
    return Binary()


def build(name, form, batch):
    """The model with a static batch; equal weights for every batch."""
    function, shape = NETS[name]
    make = maker(name, form)
    # A dense first layer reads a plain row of numbers.
    if form != "binary" and shape[:2] == (1, 1):
        shape = shape[2:]
    keras.backend.clear_session()
    keras.utils.set_random_seed(SEED)
    image = keras.Input(shape, batch_size=batch)
    model = keras.Model(image, function(make, image), name=name)
    calibrate(model, shape)
    return model


def calibrate(model, shape):
    """Gives every batch norm the statistics of random images."""
    count = int(np.clip(N_CALIBRATION_VALUES // np.prod(shape), 1, 256))
    images = np.random.default_rng(SEED).uniform(-1, 1, (count, *shape)).astype(np.float32)
    model(images, training=True)
