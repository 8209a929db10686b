"""The recipes that come with cnnatomy: the published ones with where each value is from, and ours.

A field that has no source is as it is by default, or ours. What a paper does that no field can say is in `besides`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from cnnatomy.training.schema import Recipe


@dataclass(frozen=True, kw_only=True)
class Shipped:
    """A recipe with what it is for, and where its values are from.

    Attributes:
        recipe: its values.
        title: whose it is, or what it is for.
        network: the network of the catalogue that was trained so; empty where there is none.
        sources: where it says so, by field.
        besides: what else was done there, and is no field.
    """

    recipe: Recipe
    title: str
    network: str = ""
    sources: Mapping[str, str] = field(default_factory=dict)
    besides: tuple[str, ...] = ()


def _at(section: str, *names: str) -> dict[str, str]:
    """The same source for several fields."""
    return dict.fromkeys(names, section)


DEFAULT = Shipped(recipe=Recipe(), title="what `train` does without --recipe")

LENET_5 = Shipped(
    recipe=Recipe(
        learning_rate=0.05,
        batch_size=32,
        epochs=60,
        cut_patience=6,
        patience=20,
        initialisation="xavier",
        shift=0.06,
        rotation=10,
        scale=0.1,
    ),
    title="ours, for small networks of tanh on small images such as digits; measured in docs/training.md",
    network="lenet-5",
)

LENET_1998 = Shipped(
    recipe=Recipe(
        learning_rate=0.0005,
        momentum=0,
        weight_decay=0,
        batch_size=1,
        schedule="step",
        cut=0.4,
        cut_at=(2, 5, 8, 12),
        epochs=20,
        patience=0,
        initialisation="calibrated",
    ),
    title="LeCun et al. 1998, Gradient-based learning applied to document recognition",
    network="lenet-5",
    sources={
        **_at("section III.B: 20 iterations through the training data", "epochs"),
        **_at("section III.B: the global rate of the first two of them", "learning_rate"),
        **_at("section III.B: 0.0005, 0.0002, 0.0001, 0.00005, 0.00001; four equal cuts come close", "cut", "schedule"),
        **_at("section III.B: after 2, 3, 3 and 4 iterations", "cut_at"),
        **_at("section III.B, appendix C: a step after each pattern", "batch_size", "optimizer"),
    },
    besides=(
        "stochastic diagonal Levenberg-Marquardt: the global rate is divided for each weight by 0.02 plus its estimated"
        " second derivative, from 500 patterns before each iteration (appendix C); the rates came to 7e-5 to 0.016",
        "weights begin uniform within 2.4 / fan-in (appendix A); here with variance 1/n",
        "10 radial basis functions with fixed centres as outputs, and a loss that pushes the wrong ones away (section"
        " II.C, equation 9): lenet-5-1998 is that network; here cross-entropy",
        "distorted images (shifts, scales, squeezes, shears) in a second experiment alone (section III.B)",
    ),
)

ALEXNET = Shipped(
    recipe=Recipe(
        learning_rate=0.01,
        momentum=0.9,
        weight_decay=5e-4,
        batch_size=128,
        schedule="plateau",
        cut=0.1,
        epochs=90,
        patience=0,
        dropout=0.5,
        flip=0.5,
        shift=0.07,
    ),
    title="Krizhevsky, Sutskever and Hinton 2012, ImageNet classification with deep convolutional neural networks",
    network="alexnet",
    sources={
        **_at("section 5", "optimizer", "batch_size", "momentum", "weight_decay", "learning_rate"),
        **_at("section 5: in the update rule it is added to the gradient", "decay"),
        **_at("section 5: divided by 10 when the validation error stopped improving, three times", "schedule", "cut"),
        **_at("section 5: roughly 90 cycles through the training set", "epochs"),
        **_at("section 4.2: in the first two fully connected layers", "dropout"),
        **_at("section 4.1: horizontal reflections", "flip"),
        **_at("section 4.1: 224 of 256 pixels at random, up to 16 to each side", "shift"),
    },
    besides=(
        "an ensemble of five networks: their predictions averaged (section 6)",
        "the predictions for ten crops of an image averaged in evaluation (section 4.1)",
        "the colours of training images changed along their principal components (section 4.1)",
        "weights begin with a deviation of 0.01, biases of the layers 2, 4, 5 and of the hidden fully connected ones at"
        " 1 (section 5); here by He, and at 0",
    ),
)

VGG = Shipped(
    recipe=Recipe(
        learning_rate=0.01,
        momentum=0.9,
        weight_decay=5e-4,
        batch_size=256,
        schedule="plateau",
        cut=0.1,
        epochs=74,
        patience=0,
        dropout=0.5,
        flip=0.5,
    ),
    title="Simonyan and Zisserman 2014, Very deep convolutional networks for large-scale image recognition",
    network="vgg-16",
    sources={
        **_at("section 3.1", "optimizer", "batch_size", "momentum", "weight_decay", "learning_rate", "flip"),
        **_at("section 3.1: cut by 10 when the validation accuracy stopped improving, three times", "schedule", "cut"),
        **_at("section 3.1: 370,000 iterations, 74 epochs", "epochs"),
        **_at("section 3.1: in the first two fully connected layers", "dropout"),
    },
    besides=(
        "the shallow network A is trained first, and its layers begin the deeper ones (section 3.1); here by He",
        "random crops of 224 pixels from images whose shorter side is 256, 384, or 256 to 512 at random (section 3.1)",
        "colours shifted at random (section 3.1)",
        "dense evaluation, several scales, and ensembles of networks (sections 3.2 and 4)",
    ),
)

RESNET = Shipped(
    recipe=Recipe(
        learning_rate=0.1,
        momentum=0.9,
        weight_decay=1e-4,
        batch_size=256,
        schedule="plateau",
        cut=0.1,
        epochs=120,
        initialisation="he",
        flip=0.5,
    ),
    title="He, Zhang, Ren and Sun 2015, Deep residual learning for image recognition",
    network="resnet-50",
    sources={
        **_at("section 3.4", "optimizer", "batch_size", "momentum", "learning_rate", "initialisation", "flip"),
        **_at("section 3.4; the lecture's slide prints 1e-5", "weight_decay"),
        **_at("section 3.4: divided by 10 when the error plateaus", "schedule", "cut"),
        **_at("section 3.4: up to 600,000 iterations", "epochs"),
        **_at("section 3.4: no dropout; the networks have none", "dropout"),
    },
    besides=(
        "random crops of 224 pixels from images whose shorter side is 256 to 480 at random (section 3.4)",
        "the colours of training images changed as for AlexNet (section 3.4)",
        "ten crops, or several scales, averaged in evaluation (section 3.4); an ensemble of six networks (section 4.1)",
    ),
)

RESNET_CIFAR = Shipped(
    recipe=Recipe(
        learning_rate=0.1,
        momentum=0.9,
        weight_decay=1e-4,
        batch_size=128,
        schedule="step",
        cut=0.1,
        cut_at=(91, 137),
        epochs=182,
        patience=0,
        initialisation="he",
        flip=0.5,
        crop=4,
    ),
    title="He, Zhang, Ren and Sun 2015, Deep residual learning for image recognition: CIFAR-10",
    network="resnet-56-cifar",
    sources={
        **_at("section 4.2", "optimizer", "batch_size", "momentum", "weight_decay", "learning_rate", "flip"),
        **_at("section 4.2: divided by 10 at 32,000 and 48,000 iterations, of 45,000 images", "schedule", "cut"),
        **_at("section 4.2: 32,000 and 48,000 iterations are 91 and 137 epochs", "cut_at"),
        **_at("section 4.2: 64,000 iterations", "epochs"),
        **_at("section 4.2: 4 pixels of padding on each side of 32, and crops at random", "crop"),
        **_at("section 4.2, as in 3.4", "initialisation"),
        **_at("section 4.2: no dropout; the networks have none", "dropout"),
    },
    besides=("the one of 110 layers begins with a rate of 0.01 for about 400 iterations (section 4.2)",),
)

INCEPTION_V3 = Shipped(
    recipe=Recipe(
        optimizer="rmsprop",
        learning_rate=0.045,
        momentum=0.9,
        second_moment=0.9,
        epsilon=1.0,
        weight_decay=4e-5,
        decay_norms=False,
        batch_size=1600,
        schedule="step",
        cut=0.94,
        cut_every=2,
        epochs=100,
        patience=0,
        label_smoothing=0.1,
        clip=2.0,
        ema=0.9999,
        flip=0.5,
    ),
    title="Szegedy et al. 2015, Rethinking the Inception architecture for computer vision",
    network="inception-v3-aux",
    sources={
        **_at("section 8", "optimizer", "second_moment", "epsilon", "learning_rate", "epochs", "clip"),
        **_at("section 8: 50 replicas with 32 images each", "batch_size"),
        **_at("section 8: by 0.94 every two epochs", "schedule", "cut", "cut_every"),
        **_at("section 8: a running average is evaluated; its decay is that of the released code", "ema"),
        **_at("section 7", "label_smoothing"),
        **_at("the released TensorFlow code", "momentum", "weight_decay", "decay_norms", "flip"),
        **_at("Szegedy et al. 2014, Going deeper with convolutions, section 5", "auxiliary_weight"),
    },
    besides=(
        "TensorFlow adds epsilon to the mean square before its root is taken; here it is added to the root",
        "random crops of any size and proportions, and colours changed at random (the released code)",
        "multiple crops and ensembles of four networks in evaluation (section 10)",
    ),
)

DENSENET = Shipped(
    recipe=Recipe(
        optimizer="nesterov",
        learning_rate=0.1,
        momentum=0.9,
        weight_decay=1e-4,
        batch_size=256,
        schedule="step",
        cut=0.1,
        cut_at=(30, 60),
        epochs=90,
        patience=0,
        initialisation="he",
        flip=0.5,
    ),
    title="Huang, Liu, van der Maaten and Weinberger 2016, Densely connected convolutional networks",
    network="densenet-121",
    sources={
        **_at("section 4.2", "optimizer", "learning_rate", "momentum", "weight_decay", "batch_size", "initialisation"),
        **_at("section 4.2: lowered by 10 at the epochs 30 and 60", "schedule", "cut", "cut_at"),
        **_at("section 4.2: 90 epochs", "epochs"),
        **_at("section 4.1: augmentation as for ResNet", "flip"),
    },
    besides=("random crops of 224 pixels, as for ResNet (section 4.1)",),
)

DENSENET_CIFAR = Shipped(
    recipe=Recipe(
        optimizer="nesterov",
        learning_rate=0.1,
        momentum=0.9,
        weight_decay=1e-4,
        batch_size=64,
        schedule="step",
        cut=0.1,
        cut_at=(150, 225),
        epochs=300,
        patience=0,
        initialisation="he",
        flip=0.5,
        crop=4,
    ),
    title="Huang, Liu, van der Maaten and Weinberger 2016, Densely connected convolutional networks: CIFAR",
    sources={
        **_at("section 4.2", "optimizer", "learning_rate", "momentum", "weight_decay", "batch_size", "initialisation"),
        **_at("section 4.2: divided by 10 after half and three quarters of the epochs", "schedule", "cut", "cut_at"),
        **_at("section 4.2: 300 epochs", "epochs"),
        **_at("section 4.1: mirrored and shifted", "flip", "crop"),
    },
    besides=("without augmentation, dropout of 0.2 after each convolution but the first (section 4.2)",),
)

MOBILENET = Shipped(
    recipe=Recipe(
        optimizer="rmsprop",
        learning_rate=0.045,
        momentum=0.9,
        second_moment=0.9,
        epsilon=1.0,
        weight_decay=4e-5,
        decay_norms=False,
        batch_size=96,
        schedule="step",
        cut=0.98,
        cut_every=1,
        epochs=300,
        patience=0,
        flip=0.5,
    ),
    title="Sandler et al. 2018, MobileNetV2: Inverted residuals and linear bottlenecks",
    network="mobilenet-v2",
    sources={
        **_at("section 6.1", "optimizer", "momentum", "second_moment", "weight_decay", "learning_rate", "batch_size"),
        **_at("section 6.1: by 0.98 every epoch", "schedule", "cut", "cut_every"),
        **_at("the released TensorFlow code (slim)", "epsilon", "decay_norms", "flip"),
    },
    besides=(
        "96 images for each of 16 asynchronous workers (section 6.1); here for one",
        "how many epochs, the paper does not say",
        "TensorFlow adds epsilon to the mean square before its root is taken; here it is added to the root",
        "for MobileNet V1, little or no weight decay on depthwise filters (Howard et al. 2017, section 3.2)",
    ),
)

SE = Shipped(
    recipe=Recipe(
        learning_rate=0.6,
        momentum=0.9,
        weight_decay=1e-4,
        batch_size=1024,
        schedule="step",
        cut=0.1,
        cut_every=30,
        epochs=100,
        patience=0,
        initialisation="he",
        flip=0.5,
    ),
    title="Hu et al. 2017, Squeeze-and-excitation networks",
    network="se-resnet-50",
    sources={
        **_at("section 5.1", "optimizer", "momentum", "batch_size", "learning_rate", "initialisation", "flip"),
        **_at("section 5.1: reduced by 10 every 30 epochs", "schedule", "cut", "cut_every"),
        **_at("section 5.1: 100 epochs from scratch", "epochs"),
        **_at("that of ResNet, which it follows (He et al. 2015, section 3.4)", "weight_decay"),
    },
    besides=(
        "random crops of any size and proportions (section 5.1)",
        "a smaller batch wants a learning rate that is smaller in proportion; the authors' released networks were"
        " trained with 256 images and 0.1",
    ),
)

MODERN = Shipped(
    recipe=Recipe(
        optimizer="adamw",
        learning_rate=1e-3,
        weight_decay=0.05,
        decay_norms=False,
        batch_size=64,
        schedule="cosine",
        warmup=5,
        final=0.01,
        epochs=100,
        patience=0,
        label_smoothing=0.1,
        clip=1.0,
        ema=0.998,
        flip=0.5,
        shift=0.1,
        scale=0.1,
    ),
    title="ours, for a folder of some thousand images, from new weights; chosen, not measured",
    sources={
        "optimizer": "one learning rate fits deep and shallow networks, with and without normalisation",
        "weight_decay": "few images overfit soon; decoupled, it is multiplied by the learning rate",
        "warmup": "the first steps of adamw know little of the second moments",
        "schedule": "needs no number of its own, and the last epochs have a small rate, whatever the length",
        "patience": "the loss falls most in the last epochs, so that none of them is left out",
        "label_smoothing": "few images are learned by heart; their labels may be wrong, too",
        "clip": "a rare batch does not throw the weights off",
        "ema": "averages over some ten epochs of some thousand images",
        "flip": "photos may be mirrored; digits and letters may not: set it to 0 for them",
    },
)

SHIPPED: dict[str, Shipped] = {
    "default": DEFAULT,
    "modern": MODERN,
    "lenet-5": LENET_5,
    "lenet-1998": LENET_1998,
    "alexnet": ALEXNET,
    "vgg": VGG,
    "resnet": RESNET,
    "resnet-cifar": RESNET_CIFAR,
    "inception-v3": INCEPTION_V3,
    "densenet": DENSENET,
    "densenet-cifar": DENSENET_CIFAR,
    "mobilenet": MOBILENET,
    "se": SE,
}
