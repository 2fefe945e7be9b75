"""A small ResNet to compare the small Swin with: He et al. 2016, section 4.2, for images of 28 × 28 pixels."""

from torch import nn


class Residual(nn.Module):
    """Two 3 × 3 convolutions beside a shortcut: (n, inputs, h, w) → (n, outputs, h/stride, w/stride)."""

    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.branch = nn.Sequential(
            *convolution(inputs, outputs, 3, stride), nn.ReLU(), *convolution(outputs, outputs, 3)
        )
        same = inputs == outputs and stride == 1
        self.shortcut = nn.Sequential(*([] if same else convolution(inputs, outputs, 1, stride)))

    def forward(self, x):
        return nn.functional.relu(self.shortcut(x) + self.branch(x))


def convolution(inputs, outputs, side, stride=1):
    """A convolution without bias, and its batch norm."""
    return nn.Conv2d(inputs, outputs, side, stride, side // 2, bias=False), nn.BatchNorm2d(outputs)


def resnet(width=15, blocks=3, classes=10):
    """(n, 1, h, w) → logits (n, classes), in three stages of `blocks` residual blocks; the default is a ResNet-20.

    Three things differ from the paper's. Width 15 instead of 16: about as many parameters as the small Swin has. The
    first convolution moves by 2, so that the first maps have as many places as that Swin, with its patches of 2 × 2.
    Where the width changes, the shortcut is a 1 × 1 convolution (the paper's option B; its section 4.2 takes option A).
    """
    layers, channels = [*convolution(1, width, 3, stride=2), nn.ReLU()], width
    for stage in range(3):
        for block in range(blocks):
            stride = 2 if stage and not block else 1
            layers.append(Residual(channels, width * 2**stage, stride))
            channels = width * 2**stage
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, classes))
