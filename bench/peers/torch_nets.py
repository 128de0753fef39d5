"""The nets of train_nets.py in PyTorch: signs by straight-through estimators, channels last.

In: a name. Out: a module, and the list of its binary weights. Images come in as `[n, 32, 32, 3]`
and are viewed as `[n, 3, 32, 32]`, so that every convolution runs in the channels-last format.
Binary convolutions that keep the size pad with 0, PyTorch's own padding, which costs no copy.
"""

import torch
import torch.nn.functional as F
from torch import nn

LFC_WIDTHS = (784, 1024, 1024, 1024, 10)


class Sign(torch.autograd.Function):
    """sign with sign(0) = +1 forward; the gradient passes where |x| <= 1."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        # Of x's own type: a Python number would make float32 of bfloat16.
        one = torch.ones((), dtype=x.dtype)
        return torch.where(x >= 0, one, -one)

    @staticmethod
    def backward(ctx, gradient):
        (x,) = ctx.saved_tensors
        return gradient * (x.abs() <= 1)


class BinaryLinear(nn.Linear):
    """A linear layer that multiplies by the signs of its weights."""

    def __init__(self, n_in, n_out):
        super().__init__(n_in, n_out, bias=False)

    def forward(self, x):
        return F.linear(x, Sign.apply(self.weight))


class BinaryConv(nn.Conv2d):
    """A 3x3 convolution with the signs of its weights."""

    def __init__(self, n_in, n_out, stride=1, padding=0):
        super().__init__(n_in, n_out, 3, stride, padding, bias=False)

    def forward(self, x):
        return F.conv2d(x, Sign.apply(self.weight), None, self.stride, self.padding)


class Lfc(nn.Module):
    """Binary linear, batch norm, sign, for each hidden layer; scores are normalised, not signed."""

    def __init__(self):
        super().__init__()
        pairs = list(zip(LFC_WIDTHS, LFC_WIDTHS[1:]))
        self.linears = nn.ModuleList(BinaryLinear(n_in, n_out) for n_in, n_out in pairs)
        self.norms = nn.ModuleList(nn.BatchNorm1d(n_out) for _, n_out in pairs)

    def forward(self, x):
        last = len(self.linears) - 1
        for idx, (linear, norm) in enumerate(zip(self.linears, self.norms)):
            x = norm(linear(x))
            if idx < last:
                x = Sign.apply(x)
        return x


class Cnv(nn.Module):
    """FINN's CNV: convolution, pool where there is one, batch norm; then three linear layers."""

    def __init__(self):
        super().__init__()
        widths = (3, 64, 64, 128, 128, 256, 256)
        pairs = list(zip(widths, widths[1:]))
        self.convs = nn.ModuleList(BinaryConv(n_in, n_out) for n_in, n_out in pairs)
        self.conv_norms = nn.ModuleList(nn.BatchNorm2d(n_out) for _, n_out in pairs)
        pairs = ((256, 512), (512, 512), (512, 10))
        self.linears = nn.ModuleList(BinaryLinear(n_in, n_out) for n_in, n_out in pairs)
        self.norms = nn.ModuleList(nn.BatchNorm1d(n_out) for _, n_out in pairs)

    def forward(self, x):
        x = x.permute(0, 3, 1, 2)
        for idx, (conv, norm) in enumerate(zip(self.convs, self.conv_norms)):
            x = conv(x if idx == 0 else Sign.apply(x))
            # Of the second convolution with 64 and with 128 channels.
            if idx in (1, 3):
                x = F.max_pool2d(x, 2)
            x = norm(x)
        x = x.flatten(1)
        for linear, norm in zip(self.linears, self.norms):
            x = norm(linear(Sign.apply(x)))
        return x


class ResidualConv(nn.Module):
    """sign, binary convolution, batch norm, plus the real input in the same shape, PReLU."""

    def __init__(self, n_in, n_out, stride):
        super().__init__()
        self.conv = BinaryConv(n_in, n_out, stride, padding=1)
        self.norm = nn.BatchNorm2d(n_out)
        self.unit = nn.PReLU(n_out)
        self.short = None
        if stride > 1:
            real = nn.Conv2d(n_in, n_out, 1, bias=False)
            self.short = nn.Sequential(nn.AvgPool2d(stride), real, nn.BatchNorm2d(n_out))

    def forward(self, x):
        short = x if self.short is None else self.short(x)
        return self.unit(self.norm(self.conv(Sign.apply(x))) + short)


class ResNet20(nn.Module):
    """A real stem, 18 residual binary convolutions, the mean over positions, a real head."""

    def __init__(self):
        super().__init__()
        stem = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.stem = nn.Sequential(stem, nn.BatchNorm2d(16), nn.PReLU(16))
        layers = []
        n_in = 16
        for n_out, first_stride in ((16, 1), (32, 2), (64, 2)):
            for idx in range(6):
                layers.append(ResidualConv(n_in, n_out, first_stride if idx == 0 else 1))
                n_in = n_out
        self.layers = nn.Sequential(*layers)
        self.head = nn.Linear(64, 10)

    def forward(self, x):
        x = self.layers(self.stem(x.permute(0, 3, 1, 2)))
        return self.head(x.mean((2, 3)))


def build(name):
    """The net, its convolutions' weights in channels-last order."""
    net = {"lfc": Lfc, "cnv": Cnv, "resnet20": ResNet20}[name]()
    return net.to(memory_format=torch.channels_last)


def binary_weights(net):
    """The latent weights whose signs the net multiplies by."""
    return [m.weight for m in net.modules() if isinstance(m, (BinaryLinear, BinaryConv))]
