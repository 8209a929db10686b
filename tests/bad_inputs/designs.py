# ruff: noqa: E501 - a table has a line for a case, or for many
"""YAML designs that are damaged, hostile, or only strange."""

from __future__ import annotations

from collections.abc import Iterator

from bad_inputs.case import GOOD_DESIGN, NO_FILES, Case, Content, case

HEAD = "input: [1, 8, 8]\ntail: {Conv: {channels: 4, kernel: 3, padding: 1}}\n"
END = "head: {LinearHead: {classes: 10}}\n"
COUNTING = ("show", "compare", "critique", "fit", "roofline")
OPTIONS = {
    "fit": "--memory 1GiB",
    "roofline": "--device h100-sxm",
    "time": "--repetitions 1",
    "train": "--epochs 1 --out made",
    "weights": "--from torchvision:resnet18",
}


def ask(verb: str, file: str = "design.yaml") -> str:
    """The command line that asks this of a design."""
    return f"{verb} {file} {OPTIONS.get(verb, '')}".strip()


def bodied(body: str) -> str:
    """A good design with this body."""
    return f"{HEAD}body: {body}\n{END}"


def design(
    what: str, text: Content, code: int = 2, verbs: tuple[str, ...] = ("show",), line: int | None = None
) -> Iterator[Case]:
    """A case for each of these commands, which refuses the design by its name and line."""
    says = r"design\.yaml" + (f", line {line}\\b" if line else "") if code == 2 else ""
    for verb in verbs:
        yield case(f"{verb}: a design {what}", ask(verb), {"design.yaml": text}, code=code, says=says)


def cases() -> Iterator[Case]:
    """All of them."""
    yield from no_text()
    yield from no_design()
    yield from wrong_values()
    yield from wrong_parts()
    yield from wrong_nodes()
    yield from odd_but_right()
    yield from large()
    yield from enormous()
    yield from no_files()


def no_text() -> Iterator[Case]:
    """What no YAML parser takes, or should not be given."""
    refused: dict[str, Content] = {
        "of no bytes": b"",
        "of only comments": "# nothing\n# here\n",
        "of one word": "ReLU\n",
        "of one number": "42\n",
        "that is null": "null\n",
        "that is a list": "- ReLU\n- ReLU\n",
        "that is a list of designs": "- " + GOOD_DESIGN.replace("\n", "\n  ") + "\n",
        "of random bytes": bytes(range(256)) * 4,
        "of zero bytes": b"\0" * 1000,
        "in Latin-1": GOOD_DESIGN.encode() + "# größer\n".encode("latin-1"),
        "in UTF-32": GOOD_DESIGN.encode("utf-32"),
        "that is a gzip file": b"\x1f\x8b\x08\x00" + b"x" * 100,
        "that is a PNG": b"\x89PNG\r\n\x1a\n" + b"\0" * 50,
        "that is JSON cut short": '{"tail": {"Conv": ',
        "that is HTML": "<!DOCTYPE html>\n<html><body>404</body></html>\n",
        "that is Python": "import cnnatomy as cn\nnet = cn.Network(tail=1)\n",
        "of two documents": GOOD_DESIGN + "---\n" + GOOD_DESIGN,
        "with a control character": GOOD_DESIGN + "# \x07\n",
        "with an escape sequence in a key": HEAD + '"\\e[31mbody": ReLU\n' + END,
        "with half a surrogate": GOOD_DESIGN + '# \\ud800\nname: "\\ud800"\n',
        "with a line of 1 MB": HEAD + "body: " + "x" * 1_000_000 + "\n" + END,
    }
    for what, text in refused.items():
        yield from design(what, text)
    lines: dict[str, tuple[str, int | None]] = {
        "indented by tabs": (HEAD + "body:\n\t- ReLU\n" + END, 4),
        "with bad indentation": (HEAD + "body:\n  - ReLU\n - ReLU\n" + END, 5),
        "with an open bracket": (HEAD + "body: [ReLU, {MaxPool: {kernel: 2}}\n" + END, 4),
        "with an open brace": (HEAD + "body: [ReLU]\nhead: {LinearHead: {classes: 10}\n", 4),
        "with an open quote": (HEAD + 'body: "ReLU\n' + END, 4),
        "with two colons": (HEAD + "body: a: b\n" + END, 3),
        "with a key given twice": (GOOD_DESIGN + "body: ReLU\n", 5),
        "with a field given twice": (bodied("{MaxPool: {kernel: 2, kernel: 3}}"), 3),
        "with a name given twice": (HEAD + "body:\n  Chain:\n    a: ReLU\n    a: ReLU\n" + END, None),
        "with an unknown alias": (bodied("*nothing"), 3),
        "with an anchor given twice": (bodied("[&a ReLU, &a ReLU, *b]"), 3),
        "with an alias to itself": (bodied("&a [ReLU, *a]"), 3),
        "with a mapping that holds itself": (bodied("&a {Chain: [*a]}"), 3),
        "with an unknown tag": (bodied("!family ReLU"), 3),
        "with a tag of Python": (bodied("!!python/object/apply:os.system ['touch owned']"), 3),
        "with a tag of a Python name": (bodied("[{MaxPool: {kernel: !!python/name:os.system }}]"), 3),
        "with a binary tag": (bodied("[{MaxPool: {kernel: !!binary Zm9v}}]"), 3),
        "with an impossible date": (bodied("[{MaxPool: {kernel: 2020-13-45}}]"), 3),
        "with a word said to be an integer": (bodied("[{MaxPool: {kernel: !!int two}}]"), 3),
        "with a word said to be a list": (bodied("!!seq ReLU"), 3),
        "with a list said to be an integer": (bodied("[{MaxPool: {kernel: !!int [2]}}]"), 3),
        "with a mapping that is merged into itself": (bodied("&a {Chain: {<<: *a}}"), 3),
        "with anchors in anchors": (
            bodied("[&a0 [ReLU]" + "".join(f", &a{i} [*a{i - 1}]" for i in range(1, 5000)) + "]"),
            3,
        ),
        "with a set": (bodied("!!set {ReLU, Sigmoid}"), 3),
        "with a directive of another version": ("%YAML 9.9\n---\n" + GOOD_DESIGN, 1),
        "with a list as a key": (bodied("{[ReLU]: {}}"), 3),
        "with a question mark as a key": (HEAD + "? [a, b]\n: ReLU\n" + END, 3),
    }
    for what, (text, line) in lines.items():
        yield from design(what, text, line=line)
    laughs = "".join(f"  - &l{i} [{', '.join([f'*l{i - 1}'] * 10)}]\n" if i else "  - &l0 [ReLU]\n" for i in range(12))
    yield from design("of a billion laughs", HEAD + "body:\n" + laughs + END, verbs=("show", "critique", "train"))
    words = "".join(f"l{i}: &w{i} [{', '.join([f'*w{i - 1}'] * 10)}]\n" if i else "l0: &w0 [lol]\n" for i in range(12))
    yield from design("of a billion laughs in keys that it does not know", words + GOOD_DESIGN)
    sizes = "input: &i [1, 8, 8]\n" + "".join(f"x{i}: &x{i} [*i, *i]\n" for i in range(3)) + GOOD_DESIGN
    yield from design("that keeps anchors in keys of its own", sizes)


def no_design() -> Iterator[Case]:
    """Keys at the top."""
    for what, text in {
        "without a tail": "body: ReLU\n" + END,
        "without a body": HEAD + END,
        "without a head": HEAD + "body: ReLU\n",
        "of only an input": "input: [3, 32, 32]\n",
        "of only a name": "name: mine\n",
        "with a key misspelt": HEAD.replace("tail", "tial") + "body: ReLU\n" + END,
        "with keys in capitals": GOOD_DESIGN.replace("body", "BODY"),
        "with an empty key": GOOD_DESIGN + '"": ReLU\n',
        "with a key that is a number": GOOD_DESIGN + "7: ReLU\n",
        "with a key that is null": GOOD_DESIGN + "~: ReLU\n",
        "with a key that is true": GOOD_DESIGN + "yes: ReLU\n",
        "with a key of 10,000 characters": GOOD_DESIGN + "k" * 1_000 + ": ReLU\n",
        "with an empty tail": GOOD_DESIGN.replace("{Conv: {channels: 4, kernel: 3, padding: 1}}", ""),
        "with an empty parallel": bodied("{Parallel: []}"),
        "with a null body": bodied("null"),
        "with a body of true": bodied("true"),
        "with a body of 3": bodied("3"),
        "with a null head": GOOD_DESIGN.replace("{LinearHead: {classes: 10}}", "~"),
        "whose name is a list": GOOD_DESIGN + "name: [a, b]\n",
        "whose name is a number": GOOD_DESIGN + "name: 7\n",
        "whose name is a date": GOOD_DESIGN + "name: 2020-01-01\n",
        "whose name is no date": GOOD_DESIGN + "name: 2020-13-45\n",
        "of keys and nodes": GOOD_DESIGN + "nodes: [{a: ReLU}]\n",
    }.items():
        yield from design(what, text)
    for what, value in {
        "empty": "",
        "one number": "8",
        "a word": "large",
        "a string": '"1x8x8"',
        "an empty list": "[]",
        "two numbers": "[8, 8]",
        "four numbers": "[1, 1, 8, 8]",
        "zero": "[1, 0, 8]",
        "negative": "[1, -8, 8]",
        "of halves": "[1, 8.5, 8]",
        "of words": "[a, b, c]",
        "of lists": "[[1], [8], [8]]",
        "true": "[true, 8, 8]",
        "null": "[1, null, 8]",
        "infinite": "[1, .inf, 8]",
        "no number": "[1, .nan, 8]",
        "of 400 digits": f"[1, {'9' * 400}, 8]",
        "of 5,000 digits": f"[1, {'9' * 5000}, 8]",
        "of 10^9 rows": "[1, 1000000000, 8]",
        "a mapping": "{channels: 1, rows: 8}",
        "of a million numbers": "[" + "1, " * 1_000_000 + "8]",
    }.items():
        text = f"input: {value}\n" + GOOD_DESIGN.partition("\n")[2]
        yield from design(f"whose input is {what}", text)

    for what, body in {
        "an empty body": "[]", "an empty mapping as its body": "{}", "an empty chain": "{Chain: []}",
        "nothing in a residual": "{Residual: {parts: []}}", "lists of lists of nothing": "[[[[]]]]",
    }.items():  # fmt: skip
        for verb in ("show", "critique", "time"):
            yield case(f"{verb}: a design with {what}", ask(verb), {"design.yaml": bodied(body)}, code=(0, 2))


def wrong_values() -> Iterator[Case]:
    """One number of a layer."""
    for value in (
        "-1", "0", "1.5", "3.0", ".nan", ".inf", "-.inf", "1e400", "1e3", "9" * 400, "9" * 5000, "0x", "1_000.5", "1:30.5",
        "yes", "null", '"3"', "[3, 3, 3]", "[]", "[[3, 3], [3, 3]]", "{rows: 3}", "three", "2020-01-01", "2020-13-45",
        "1000000000", "18446744073709551616", "!!int x", "!!float 1", "!!str 3", "=", "<<", "''", "[3, -3]", "[3, 0]",
    ):  # fmt: skip
        shown = value if len(value) < 50 else f"{len(value)} nines"
        yield from design(f"whose kernel is {shown}", bodied(f"[{{Conv: {{channels: 4, kernel: {value}}}}}]"), line=3)
    for field, values in {
        "channels": ("-1", "0", "1.5", "many", "[4, 4]", "1e9", "null", "true"),
        "stride": ("0", "-2", "[1, 0]", "0.5"),
        "padding": ("-1", "sane", "[1, 2, 3]", ".inf", "valid and more"),
        "dilation": ("0", "-1", "1000000000", "[1, 2, 3]"),
        "groups": ("0", "-4", "3", "1000000000", "all"),
        "bias": ("0", "1", '"false"', "maybe", "null", "[true]"),
    }.items():
        for value in values:
            text = bodied(
                f"[{{Conv: {{channels: 4, kernel: 3, {field}: {value}}}}}]".replace(
                    "channels: 4, kernel: 3, channels", "kernel: 3, channels"
                )
            )
            yield from design(f"whose convolution has {field} {value}", text)
    for part in (
        "{MaxPool: {kernel: 9}}", "{AvgPool: {kernel: 0}}", "{MaxPool: {kernel: 2, stride: 0}}", "{MaxPool: {kernel: 2, padding: 5}}",
        "{Conv: {channels: 4, kernel: 11}}", "{Dropout: {probability: 2}}", "{Dropout: {probability: .nan}}", "{Dropout: {probability: -1}}",
        "{BatchNorm: {epsilon: -1}}", "{GroupNorm: {groups: 3}}", "{GroupNorm: {groups: 0}}", "{LeakyReLU: {slope: .nan}}",
        "{LeakyReLU: {slope: words}}", "{Interpolate: {scale: 0}}", "{Interpolate: {scale: -2}}", "{Interpolate: {scale: 1000000000}}",
        "{Interpolate: {scale: .inf}}", "{FullyConnected: {features: 0}}", "{FullyConnected: {features: 10}}", "{LinearHead: {classes: 0}}",
        "{LinearHead: {classes: 1e3}}", "{ChannelShuffle: {groups: 3}}", "{PixelShuffle: {factor: 3}}", "{Conv: {kernel: 3}}",
        "{Conv: {channels: 4, kernel: 3, sride: 2}}", "{Conv: }", "{Conv: 64}", "{Conv: [64, 3]}", "{ReLU: {inplace: true}}", "Conv",
        "{LocalResponseNorm: {size: 0}}", "{BasicBlock: {width: -4}}", "{Bottleneck: {width: 8, groups: 3}}", "{Bottleneck: {width: 8, option: Z}}",
    ):  # fmt: skip
        yield from design(f"with the part {part}", bodied(f"[{part}]"), line=3)


def wrong_parts() -> Iterator[Case]:
    """What is no layer or block, or no list of them."""
    for what, body in {
        "an unknown layer": "[Convv]", "a layer in small letters": "[relu]", "a layer of torch": "[Conv2d]",
        "a layer of Keras": "{Conv2D: {filters: 3}}", "an unknown layer of 1,000 characters": f"[{'A' * 1000}]",
        "a layer of escape sequences": '["\\e[31mReLU\\e[0m"]', "a layer with a newline": '["Re\\nLU"]',
        "a layer named by zero bytes": '["\\0"]', "an emoji": "[🦊]", "a method of Python": "[__class__]",
        "a class of the reader's": "[Layer]", "the class Block": "[Block]", "two layers in one mapping": "[{ReLU: {}, Sigmoid: {}}]",
        "times 0": "[{ReLU: {}, times: 0}]", "times -1": "[{ReLU: {}, times: -1}]", "times 1e9": "[{ReLU: {}, times: 1e9}]",
        "times 10^9": "[{ReLU: {}, times: 1000000000}]", "times x": "[{ReLU: {}, times: x}]", "times 2.5": "[{ReLU: {}, times: 2.5}]",
        "times null": "[{ReLU: {}, times: }]", "times true": "[{ReLU: {}, times: yes}]", "times as a list": "[{ReLU: {}, times: [2]}]",
        "times before the part": "[{times: 3, ReLU: {}}]", "times of 5,000 digits": f"[{{ReLU: {{}}, times: {'9' * 5000}}}]",
        "times twice": "[{ReLU: {}, times: 2, times: 3}]", "only times": "[{times: 3}]",
        "nested times of a million": "[{Chain: [{Chain: [{ReLU: {}, times: 100}], times: 100}], times: 100}]"[:1]
        + "{Chain: [{Chain: [{ReLU: , times: 100}]}], times: 100}, {Chain: [{Chain: [{Sigmoid: , times: 10000}], times: 10000}], times: 100}]",
    }.items():  # fmt: skip
        yield from design(f"with {what}", bodied(body), line=3)
    yield from design("with a part followed by times", HEAD + "body:\n  - ReLU\n    times: 3\n" + END)
    yield from design("with times on a line of its own", HEAD + "body:\n  - ReLU\n  - times: 3\n" + END, line=5)
    for what, body in {
        "a dot in a name": "{a.b: ReLU}", "an empty name": '{"": ReLU}', "the name training": "{training: ReLU}",
        "the name forward": "{forward: ReLU}", "the name input": "{input: ReLU}", "the name add_module": "{add_module: ReLU}",
        "a name of control characters": '{"\\e[2J": ReLU}', "a name with a newline": '{"a\\nb": ReLU}',
        "a name with a slash": "{a/b: ReLU}", "a name with a zero byte": '{"a\\0b": ReLU}', "the name self": "{self: ReLU}",
        "a name that is a number": "{1: ReLU}", "a name with spaces": "{a b: ReLU}", "the name __class__": "{__class__: ReLU}",
        "a name of 100,000 characters": f"{{{'n' * 1000}: ReLU}}", "a name written from right to left": '{"\\u202Eabc": ReLU}',
        "the name parameters": "{parameters: ReLU}", "the name T_destination": "{T_destination: ReLU}",
    }.items():  # fmt: skip
        for verb in ("show", "time", "train"):
            text = bodied("{Chain: [" + body + "]}")
            yield case(f"{verb}: a design with {what}", ask(verb), {"design.yaml": text}, code=(0, 2))
    for what, body in {
        "maps of unlike sizes joined": "{Parallel: [ReLU, {MaxPool: {kernel: 2}}]}",
        "maps of unlike channels added": "{Residual: {parts: [{Conv: {channels: 7, kernel: 1}}]}}",
        "a convolution of a vector": "[Flatten, {Conv: {channels: 7, kernel: 1}}]",
        "a map that shrinks to nothing": "[{MaxPool: {kernel: 2}, times: 9}]",
        "an unknown join": "{Parallel: {parts: [ReLU, ReLU], join: Concatenate}}",
        "a join that is a number": "{Parallel: {parts: [ReLU, ReLU], join: 3}}",
        "parts given as a word": "{Parallel: {parts: ReLU}}",
        "an option beside no parts": "{Residual: {after: ReLU}}",
        "a head in its body": "[{LinearHead: {classes: 3}}, {Conv: {channels: 3, kernel: 3}}]",
        "an embedding of images": "[{Embedding: {entries: 3, features: 3}}]",
        "an addition of one": "[Add]",
        "a max unpool of one": "[{MaxUnpool: {kernel: 2}}]",
    }.items():
        yield from design(f"with {what}", bodied(body), verbs=("show", "critique", "time"))


def wrong_nodes() -> Iterator[Case]:
    """Designs by nodes."""
    good = "input: [1, 8, 8]\nnodes:\n- {a: ReLU}\n"
    for what, text in {
        "of no nodes": "input: [1, 8, 8]\nnodes: []\n", "whose nodes are a word": "input: [1, 8, 8]\nnodes: ReLU\n",
        "whose nodes are a mapping": "input: [1, 8, 8]\nnodes: {a: ReLU}\n", "whose nodes are null": "input: [1, 8, 8]\nnodes:\n",
        "of nodes without an input": "nodes: [{a: ReLU}]\n", "of nodes with an unknown key": good + "tails: 3\n",
    }.items():  # fmt: skip
        yield from design(what, text)
    for what, node in {
        "a missing node": "{b: ReLU, reads: [c]}", "itself": "{b: ReLU, reads: [b]}", "a later node": "{b: ReLU, reads: [c]}\n- {c: ReLU}",
        "nothing": "{b: ReLU, reads: []}", "a word": "{b: ReLU, reads: a}", "a number": "{b: ReLU, reads: [0]}", "null": "{b: ReLU, reads: }",
        "a list of lists": "{b: ReLU, reads: [[a]]}", "one twice where it takes one": "{b: ReLU, reads: [a, a]}",
        "the outputs of 10^5 names": "{b: Concat, reads: [" + "a, " * 99_999 + "z]}",
    }.items():  # fmt: skip
        yield from design(f"with a node that reads {what}", f"{good}- {node}\n", line=4)
    for what, node in {
        "of a name given twice": "{a: ReLU}", "without a name": "ReLU", "of an empty name": '{"": ReLU}', "of a list": "[b, ReLU]",
        "that is a block": "{b: {BasicBlock: {width: 4}}}", "that is a chain": "{b: [ReLU, ReLU]}", "of three keys": "{b: ReLU, reads: [a], x: 1}",
        "of null": "{b: }", "of an unknown layer": "{b: Relux}", "called input": "{input: ReLU}", "of a number": "{b: 3}",
        "called by a tree's branch": "{a.b: ReLU}", "called by dots": "{...: ReLU}", "with a name of escapes": '{"\\e[31m": Relux}',
    }.items():  # fmt: skip
        yield from design(f"with a node {what}", f"{good}- {node}\n", line=4)


def odd_but_right() -> Iterator[Case]:
    """What a careful reader takes."""
    for what, text in {
        "with a byte order mark": "\ufeff" + GOOD_DESIGN,
        "with the ends of lines of Windows": GOOD_DESIGN.replace("\n", "\r\n"),
        "without a last newline": GOOD_DESIGN.rstrip(),
        "with an end of document": "---\n" + GOOD_DESIGN + "...\n",
        "in JSON": '{"input": [1, 8, 8], "tail": {"Conv": {"channels": 4, "kernel": 3}}, "body": "ReLU", "head": {"LinearHead": {"classes": 10}}}',
        "with anchors": HEAD + "body: [&a {Conv: {channels: 4, kernel: 3, padding: 1}}, *a, *a]\n" + END,
        "with a merge key": HEAD
        + "body:\n- Conv: &c {channels: 4, kernel: 3, padding: 1}\n- Conv: {<<: *c, kernel: 1, padding: 0}\n"
        + END,
        "with quoted names": bodied('["ReLU", {"MaxPool": {"kernel": 2}}]'),
        "with a name that is not ASCII": GOOD_DESIGN + "name: Größe 网络\n",
        "with 2,000 blank lines": "\n" * 2000 + GOOD_DESIGN,
        "with a comment of 1 MB": GOOD_DESIGN + "# " + "x" * 1_000_000 + "\n",
        "with a hexadecimal number": bodied("[{Conv: {channels: 0x10, kernel: 3}}]"),
        "nested 30 deep": bodied("[" * 30 + "ReLU" + "]" * 30),
        "without parameters": "input: [1, 8, 8]\ntail: ReLU\nbody: ReLU\nhead: [GlobalAvgPool, Flatten]\n",
    }.items():
        yield from design(what, text, code=0, verbs=COUNTING)
    nothing = "input: [1, 8, 8]\ntail: ReLU\nbody: ReLU\nhead: [GlobalAvgPool, Flatten]\n"
    ten = "input: [1, 8, 8]\ntail: ReLU\nbody:\n  Parallel:\n  - ReLU: {}\n    times: 10\nhead: [GlobalAvgPool, Flatten]\n"
    yield case(
        "train: a design of ten classes without parameters", ask("train"), {"design.yaml": ten}, says="no parameters"
    )
    yield case("time: a design without parameters", ask("time"), {"design.yaml": nothing}, code=0)
    yield case(
        "train: a design without parameters",
        ask("train"),
        {"design.yaml": nothing},
        says="parameters|values|the data need",
    )
    yield from design("of a name of control characters", GOOD_DESIGN + 'name: "\\e[31mred\\n"\n', code=0, verbs=())
    for verb in (*COUNTING, "time"):
        text = GOOD_DESIGN + 'name: "\\e[31mred\\nnew"\n'
        yield case(f"{verb}: a design whose name has control characters", ask(verb), {"design.yaml": text}, code=(0, 2))


def large() -> Iterator[Case]:
    """Many parts: refused at once, or answered in time."""
    yield from design(
        "nested 1,000 deep", bodied("[" * 1000 + "ReLU" + "]" * 1000), verbs=("show", "critique", "train")
    )
    yield from design("nested 100,000 deep", bodied("[" * 100_000 + "ReLU" + "]" * 100_000))
    yield from design("of 100,000 open brackets", bodied("[" * 100_000))
    yield from design("of 100,000 open braces", bodied("{" * 100_000))
    yield from design("of 200 levels of residuals", bodied("{Residual: [" * 200 + "ReLU" + "]}" * 200))
    deep = HEAD + "body:\n" + "".join("  " * i + "- Chain:\n" for i in range(1, 1000)) + END
    yield from design("nested 1,000 deep in blocks", deep)
    dashes = HEAD + "body:\n" + "- " * 50_000 + "ReLU\n" + END
    yield from design("of 50,000 dashes on a line", dashes)
    yield from design("of 9 MB of brackets", lambda path: path.write_text(bodied("[" + "[]," * 3_000_000 + "]")))
    yield from design("of 9 MB of one word", lambda path: path.write_text(bodied("x" * 9_000_000)))
    yield from design("of 11 MB", lambda path: path.write_text(GOOD_DESIGN + "#" * 11_000_000))
    yield from design("of 1.4 million parts", lambda path: path.write_text(bodied("[" + "ReLU, " * 1_400_000 + "]")))
    yield from design(
        "of 90,000 parts on lines", lambda path: path.write_text(HEAD + "body:\n" + "- ReLU\n" * 90_000 + END)
    )
    yield from design(
        "of 100,000 unknown keys",
        lambda path: path.write_text(GOOD_DESIGN + "".join(f"k{i}: 1\n" for i in range(100_000))),
    )
    listed = "input: [1, 8, 8]\nnodes:\n" + "".join(f"- {{n{i}: ReLU}}\n" for i in range(190_000))
    yield from design("of 190,000 listed nodes", listed)
    yield from design("of 100,000 documents", "--- 1\n" * 100_000)
    yield from design("of 50,000 anchors", bodied("[" + ", ".join(f"&a{i} ReLU" for i in range(50_000)) + "]"))
    for verb in (*COUNTING, "time", "train"):
        yield from design("of 10^9 layers by times", bodied("[{ReLU: , times: 1000000000}]"), verbs=(verb,))
        thousands = bodied("{Chain: [{Chain: [{Chain: [{ReLU: , times: 100}], times: 100}], times: 100}]}")
        yield from design("of a million layers by nested times", thousands, verbs=(verb,))
    text = bodied("[{Conv: {channels: 4, kernel: 3, padding: 1}, times: 19000}]")
    for verb in COUNTING:
        yield case(f"{verb}: a design of 19,000 convolutions by times", ask(verb), {"design.yaml": text}, code=(0, 2))
        dense = bodied("{Dense: [{Conv: {channels: 1, kernel: 3, padding: 1}, times: 5000}]}")
        yield case(f"{verb}: a dense block of 5,000 parts", ask(verb), {"design.yaml": dense}, code=(0, 2))
        wide = bodied("{Parallel: [{Conv: {channels: 1, kernel: 1}, times: 5000}]}")
        yield case(f"{verb}: a parallel of 5,000 branches", ask(verb), {"design.yaml": wide}, code=(0, 2))
        relus = bodied("[" + "ReLU, " * 15_000 + "ReLU]")
        yield case(f"{verb}: a design of 15,000 activations in a row", ask(verb), {"design.yaml": relus}, code=(0, 2))


def enormous() -> Iterator[Case]:
    """Few parts of huge numbers: counted exactly where they are only counted, refused where they would be built."""
    strided = bodied("[{Conv: {channels: 4, kernel: 3, stride: 1000000000000}}]")
    channels = bodied("[{Conv: {channels: 1000000000, kernel: 1}}, {Conv: {channels: 1000000000, kernel: 1}}]")
    scales = bodied("[{Interpolate: {scale: 1000000000}, times: 2000}]")
    growing = bodied("[{Interpolate: {scale: 2}, times: 60}]")
    wide = bodied("[{Conv: {channels: 60000, kernel: 3}}, {Conv: {channels: 60000, kernel: 3}}]")
    features = bodied("[{Interpolate: {scale: 1000}}, ReLU]")
    padded = bodied("[{Conv: {channels: 4, kernel: 3, padding: 1000000}}]")
    in_turn = bodied("\n- Chain: [{Interpolate: {scale: 3}}, {MaxPool: {kernel: 2}}]\n  times: 20")
    reshaped = bodied("{Reshape: {shape: [" + "1000000, " * 719 + "1000000]}}")
    pair = bodied(
        "[{Conv: {channels: 4, kernel: 999999, padding: 499999}}, {Conv: {channels: 4, kernel: 9, padding: 4}}]"
    )
    for what, text in {
        "enlarged by 3 and halved in turn": in_turn,
        "enlarged 19,999 times": bodied("{Interpolate: {scale: 19999}}"),
        "reshaped to 720 axes": reshaped,
        "of kernels of a million pixels": pair,
    }.items():
        for verb in COUNTING:
            yield case(f"{verb}: a design {what}", ask(verb), {"design.yaml": text}, code=(0, 2))
        fixed = (*ask("critique").split(), "--fix", "fixed.yaml")
        yield case(f"critique --fix: a design {what}", fixed, {"design.yaml": text}, code=(0, 2))
    for what, text in {
        "of 10^9 channels": channels, "enlarged by 10^9 two thousand times": scales, "enlarged by 2 sixty times": growing,
        "of 60,000 channels": wide, "of a map of 64 million pixels": features, "padded by a million": padded, "padded by 10^20": padded.replace("1000000", "1" + "0" * 20),
    }.items():  # fmt: skip
        for verb in COUNTING:
            yield case(f"{verb}: a design {what}", ask(verb), {"design.yaml": text}, code=(0, 2))
        for verb in ("time", "train"):
            yield case(f"{verb}: a design {what}", ask(verb), {"design.yaml": text}, code=2)
    for verb in COUNTING:
        yield case(f"{verb}: a design with a stride of 10^12", ask(verb), {"design.yaml": strided}, code=(0, 2))


def no_files() -> Iterator[Case]:
    """Names of designs that lead to no file of a sensible size."""
    for what, make in NO_FILES.items():
        for verb in ("show", "critique", "compare", "train", "fit"):
            yield from design(f"that is {what}", make, verbs=(verb,))
        for ending in ("yml", "YAML"):
            says = rf"design\.{ending}"
            yield case(
                f"show: a design in .{ending} that is {what}",
                f"show design.{ending}",
                {f"design.{ending}": make},
                says=says,
            )
