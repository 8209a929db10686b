"""A design that each rule objects to, and one that it is content with: a file for each rule, `NAME.yaml`."""

from __future__ import annotations

from typing import NamedTuple

from cnnatomy.errors import UserError


class RuleExample(NamedTuple):
    """Two designs as YAML, as alike as the mistake allows: the documentation of a rule, and its test.

    Attributes:
        bad: what the rule objects to.
        good: the same without the mistake.
        options: what `cnnatomy critique` has to be asked with, such as `--task segmentation`.
        trained: whether these are networks that have been trained, which the rule is asked of.
    """

    bad: str
    good: str
    options: str = ""
    trained: bool = False


def example(name: str) -> RuleExample:
    """The example of the rule of this name, read when asked for.

    Raises:
        UserError: if there is none, or it is not whole; it says what to write.
    """
    from importlib.resources import files  # only rules that are explained need these

    import yaml

    file = f"src/cnnatomy/critique/examples/{name}.yaml"
    found = files(__name__).joinpath(f"{name}.yaml")
    if not found.is_file():
        raise UserError(
            f"the rule {name} has no example: add {file}, with a design that it objects to under `bad`, one that it "
            "is content with under `good`, and under `options` what `cnnatomy critique` must be asked with, if anything"
        )
    got = yaml.safe_load(found.read_text(encoding="utf-8"))
    if not isinstance(got, dict) or not {"bad", "good"} <= set(got) <= set(RuleExample._fields):
        keys = "bad, good and, where the rule needs them, options and trained"
        raise UserError(f"{file}: an example has the keys {keys}")
    return RuleExample(**got)
