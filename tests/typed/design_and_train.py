"""A user's file, which mypy checks: nothing that it gets from cnnatomy may be of type Any (see `test_types.py`)."""

from __future__ import annotations

from pathlib import Path

import cnnatomy as cn
import cnnatomy.analysis.accounting as accounting
import cnnatomy.design.graph as g
from cnnatomy.critique import critique, fix
from cnnatomy.critique.study import Purpose
from cnnatomy.data import load
from cnnatomy.design import LinearHead
from cnnatomy.design.parts import conv_bn, conv_bn_relu
from cnnatomy.layers import Add, Conv, MaxPool, ReLU
from cnnatomy.layers.layer import value
from cnnatomy.readers import read_graph, resolve
from cnnatomy.readers.yaml import listed
from cnnatomy.runs import Trained
from cnnatomy.training import Recipe, fit


@value
class Bottleneck(cn.Block):
    """1x1 reduce, 3x3, 1x1 expand, added to the input."""

    width: int
    stride: int = 1

    def __call__(self, x: cn.FeatureMap) -> cn.FeatureMap:
        y = conv_bn_relu(x, self.width, 1)
        y = conv_bn_relu(y, self.width, 3, stride=self.stride)
        y = conv_bn(y, 4 * self.width, 1)
        return ReLU()(Add()(y, conv_bn(x, 4 * self.width, 1, stride=self.stride)))


def describe() -> None:
    net = cn.network("resnet-50", classes=10)
    mine = cn.Network(
        tail=cn.Chain(conv=Conv(64, 7, stride=2, padding=3), pool=MaxPool(3, 2)),
        body=cn.Chain(stage1=cn.Chain(Bottleneck(64), Bottleneck(64)), stage2=Bottleneck(128, stride=2)),
        head=LinearHead(10),
        name="mine",
    )
    account = mine.account((3, 64, 64))
    print(account.totals.parameters + 1, account.receptive_field.size[0] + 1, account.input[0] + 1)
    for row in account:
        print(row.path.upper(), row.layer.upper(), row.macs + 1, row.output[0] + 1)
    graph = net.graph((3, 224, 224))
    node: g.Node = graph.nodes[0]
    print(node.layer.kind.upper(), node.output.channels + 1, accounting.account(graph).depth + 1)
    print(net.replace(head=mine.head).name.upper(), net.heads["head"], net == mine)
    for finding in critique(mine, Purpose(task="classification")):
        print(finding.rule.code.upper(), finding.text.upper(), finding.where[0].upper())
    fixed = fix(mine, Purpose(), [])
    print(fixed.network.name.upper(), listed.write(fixed.network).upper())
    print(resolve("lenet-5").input[0] + 1, read_graph("lenet-5")[0].nodes[0].path.upper())


def train(folder: Path) -> None:
    data = load("digits", (1, 32, 32))
    trained = fit(cn.network("lenet-5", classes=10), data, Recipe(epochs=2), folder)
    if trained.outcome is not None:
        print(trained.outcome.test["top_1"] + 1.0, trained.outcome.best.epoch + 1, trained.run.classes[0].upper())
    again = Trained.load(folder)
    for prediction in again.predict(["photo.jpg"]):
        print(prediction.path.name.upper(), prediction.classes[0][1] + 1.0)
    result, what = again.evaluate()
    print(result["top_5"] + 1.0, what.upper())
