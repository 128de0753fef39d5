"""The nets of train_nets.py in Larq: `ste_sign` and `weight_clip`, channels last as Keras has them.

In: a name. Out: a Keras model whose outputs are scores. Convolutions that keep the size pad with 0,
which is TensorFlow's own padding and costs no copy.
"""

import larq
import tensorflow as tf

LFC_WIDTHS = (784, 1024, 1024, 1024, 10)
keras = tf.keras
BINARY = {
    "kernel_quantizer": "ste_sign",
    "kernel_constraint": "weight_clip",
    "use_bias": False,
}


def norm(x):
    return keras.layers.BatchNormalization()(x)


def dense(x, units, signed=True):
    """Binary dense; `signed` inputs are signed as they come in."""
    quantizer = "ste_sign" if signed else None
    return larq.layers.QuantDense(units, input_quantizer=quantizer, **BINARY)(x)


def conv(x, filters, strides=1, padding="same", signed=True):
    """Binary 3x3 convolution; `signed` inputs are signed as they come in."""
    quantizer = "ste_sign" if signed else None
    return larq.layers.QuantConv2D(
        filters, 3, strides, padding, input_quantizer=quantizer, **BINARY
    )(x)


def unit(x):
    slope = keras.initializers.Constant(0.25)
    return keras.layers.PReLU(alpha_initializer=slope, shared_axes=[1, 2])(x)


def lfc(x):
    """Binary dense, batch norm, for each layer. The images are -1 and +1 already."""
    for idx, n_out in enumerate(LFC_WIDTHS[1:]):
        x = norm(dense(x, n_out, signed=idx > 0))
    return x


def cnv(x):
    """FINN's CNV: convolution, pool where there is one, batch norm; then three dense layers."""
    for idx, filters in enumerate((64, 64, 128, 128, 256, 256)):
        x = conv(x, filters, padding="valid", signed=idx > 0)
        # Of the second convolution with 64 and with 128 channels.
        if idx in (1, 3):
            x = keras.layers.MaxPool2D(2)(x)
        x = norm(x)
    x = keras.layers.Flatten()(x)
    for units in (512, 512, 10):
        x = norm(dense(x, units))
    return x


def residual_conv(x, filters, strides):
    """sign, binary convolution, batch norm, plus the real input in the same shape, PReLU."""
    short = x
    if strides > 1:
        short = keras.layers.AveragePooling2D(strides)(short)
        short = norm(keras.layers.Conv2D(filters, 1, use_bias=False)(short))
    return unit(keras.layers.add([norm(conv(x, filters, strides)), short]))


def resnet20(x):
    """A real stem, 18 residual binary convolutions, the mean over positions, a real head."""
    x = unit(norm(keras.layers.Conv2D(16, 3, padding="same", use_bias=False)(x)))
    for filters, first_strides in ((16, 1), (32, 2), (64, 2)):
        for idx in range(6):
            x = residual_conv(x, filters, first_strides if idx == 0 else 1)
    return keras.layers.Dense(10)(keras.layers.GlobalAveragePooling2D()(x))


def build(name, shape):
    """The net over images of this shape."""
    images = keras.Input(shape)
    scores = {"lfc": lfc, "cnv": cnv, "resnet20": resnet20}[name](images)
    return keras.Model(images, scores)


def n_binary_weights(net):
    """How many latent weights the net multiplies by the sign of."""
    quantised = (larq.layers.QuantDense, larq.layers.QuantConv2D)
    kernels = [layer.kernel for layer in net.layers if isinstance(layer, quantised)]
    return sum(int(tf.size(kernel)) for kernel in kernels)
