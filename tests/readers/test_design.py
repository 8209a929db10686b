"""YAML designs: written and read back as the same value; mistakes are named with their line."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

import cnnatomy as cn
from cnnatomy.design import Named
from cnnatomy.layers import Conv, LeakyReLU, MaxPool, ReLU
from cnnatomy.layers.layer import value
from cnnatomy.readers import resolve
from cnnatomy.readers.yaml import design
from kinds import each_kind


@pytest.mark.slow
@each_kind
def test_every_network_goes_to_yaml_and_back(name):
    network = cn.network(name)
    read = design.read(design.write(network))
    assert read == network
    assert (read.name, read.input) == (network.name, network.input)


parts = st.recursive(
    st.one_of(
        st.builds(Conv, st.integers(1, 9), st.integers(1, 5) | st.tuples(st.integers(1, 5), st.integers(1, 5))),
        st.builds(Conv, st.just(8), st.just(3), padding=st.sampled_from(["same", 1, (1, 2), (0, 1, 2, 3)])),
        st.just(ReLU()),
        st.builds(MaxPool, st.integers(1, 4), ceil=st.booleans()),
    ),
    lambda inner: st.one_of(
        st.lists(inner | st.builds(Named, st.sampled_from(["a", "Conv", "B2", "null", "1"]), inner), max_size=1).map(
            lambda found: cn.Chain(*found)
        ),
        st.lists(inner, max_size=4).map(lambda found: cn.Parallel(*found)),
        st.builds(cn.Residual, inner, after=st.none() | st.just(ReLU())),
    ),
)


@pytest.mark.slow
@given(parts, parts, parts)
def test_any_design_goes_to_yaml_and_back(tail, body, head):
    network = cn.Network(tail, body, head, input=(1, 2, 3), name="any: thing #1")
    read = design.read(design.write(network))
    assert read == network
    assert read.name == network.name


def test_repeated_blocks_are_written_once():
    text = design.write(cn.network("resnet-152"))
    assert "times: 35" in text
    assert len(text.splitlines()) < 40


def test_blocks_of_your_own_are_read_where_they_are_named():
    @value
    class Mine(cn.Block):
        width: int

        def __call__(self, x):
            return Conv(self.width, 1)(x)

    network = cn.Network(cn.Chain(), Mine(3), ReLU())
    with pytest.raises(cn.UserError, match="no layer or block called 'Mine'"):
        design.read(design.write(network))
    assert design.read(design.write(network), types={"Mine": Mine}) == network


HEADER = "tail: []\nhead: ReLU\nbody:\n"
MISTAKES = {
    "tail: [": "x.yaml, line 1: not valid YAML",
    "": "x.yaml: a design is a mapping with the keys tail, body and head",
    "tail: []\nhead: []": "x.yaml, line 1: the key 'body' is missing",
    "tails: []": "x.yaml, line 1: a design has no key 'tails'. Did you mean tail",
    HEADER + "  ReLUU": "x.yaml, line 4: there is no layer or block called 'ReLUU'. Did you mean ReLU",
    HEADER
    + "  - Convv: {channels: 3, kernel: 3}": "line 4: there is no layer or block called 'Convv'. Did you mean Conv",
    HEADER + "  - Conv: {channels: 3, kernal: 3}": "line 4: Conv has no key 'kernal'. Did you mean kernel",
    HEADER + "  - Conv: {channels: 3, kernel: three}": "line 4: kernel: expected int or [int, int], got 'three'",
    HEADER + "  - Conv: {channels: true, kernel: 3}": "line 4: channels: expected int, got True",
    HEADER + "  - Conv: {channels: !family x, kernel: 3}": "line 4: a design has no tags, got !family: remove it",
    HEADER + "  - LeakyReLU: {slope: 2020-13-45}": "line 4: slope: expected float, got 2020-13-45: most readers of",
    "name: 2020-13-45\n" + HEADER + "  ReLU": "line 1: name: expected text, got",
    HEADER + "  - Conv: {channels: !!int eight, kernel: 3}": "line 4: !!int stands before eight, which is no integer",
    HEADER + "  - Conv: {channels: 3}": "line 4: Conv needs kernel",
    HEADER + "  - Conv: {channels: 3, channels: 4, kernel: 1}": "line 4: the key 'channels' is given twice",
    HEADER + "  - Conv: {channels: 0, kernel: 3}": "line 4: Conv: channels must be a positive integer",
    HEADER
    + "  - ReLU:\n    times: 1000000000": "line 4: times must be at least 1, and all parts together at most 20,000",
    HEADER + "  - !!python/object/apply:os.system [ls]": "line 4",
    HEADER + "  - {[a]: ReLU}": "line 4: a key is a word, not a list or mapping",
    "a: &a [*a]\ntail: []": "x.yaml, line 1: *a stands within what &a marks",
    "tail: &a [*a, *a]\nbody: []\nhead: []": "line 1: *a stands within what &a marks",
}


@pytest.mark.parametrize("text", MISTAKES)
def test_a_mistake_is_named_with_its_file_and_line(text):
    with pytest.raises(cn.UserError) as caught:
        design.read(text, source="x.yaml")
    assert MISTAKES[text] in str(caught.value)


def test_a_number_in_powers_of_ten_is_a_number_also_without_a_point():
    """YAML 1.2 and editors take 1e-2 for a number, YAML 1.1 for a word."""
    assert design.read(HEADER + "  LeakyReLU: {slope: 2e-1}").body == LeakyReLU(0.2)


def test_a_path_with_a_yaml_suffix_is_read_as_a_design(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(design.write(cn.network("lenet-5").replace(name="")))
    network = resolve(str(path), input=(1, 28, 28))
    assert (network.name, network.input) == ("mine", (1, 28, 28))
    with pytest.raises(cn.UserError, match=r"head\.output gives 10, the data need 7"):
        resolve(str(path), classes=7)
    with pytest.raises(cn.UserError, match="cannot read the design: No such file"):
        resolve(str(tmp_path / "none.yaml"))


def test_a_merge_key_stands_for_the_fields_of_an_anchor():
    text = HEADER + (
        "  - Conv: &small {channels: 8, kernel: 3, padding: 1}\n"
        "  - Conv: {<<: *small, channels: 16}\n"
        "  - Conv: {<<: [{bias: false}, *small], kernel: 1}\n"
    )
    assert design.read(text).body.parts == (
        Conv(8, 3, padding=1),
        Conv(16, 3, padding=1),
        Conv(8, 1, padding=1, bias=False),
    )


@pytest.mark.parametrize(("word", "value"), [("010", 10), ("0x10", 16), ("0o10", 8), ("+7", 7)])
def test_integers_are_those_of_yaml_1_2(word, value):
    assert design.read(f"{HEADER}  - Conv: {{channels: {word}, kernel: 1}}").body.parts == (Conv(value, 1),)


@pytest.mark.parametrize("word", ["1:30", "1_000", "yes", "on", "'3'", "3.0", "0b11", "2020-01-01"])
def test_what_is_no_integer_in_yaml_1_2_is_none(word):
    with pytest.raises(cn.UserError, match=r"line 4: channels: expected int, got"):
        design.read(f"{HEADER}  - Conv: {{channels: {word}, kernel: 1}}")


@pytest.mark.parametrize("word", [".nan", "1e400", "'0.2'"])
def test_what_is_no_number_of_a_layer_is_refused(word):
    with pytest.raises(cn.UserError, match=r"line 4: slope: expected float, got"):
        design.read(f"{HEADER}  - LeakyReLU: {{slope: {word}}}")


def test_merge_keys_that_stand_for_too_much_are_refused():
    """Each of 2,000 mappings has all keys of those before it: two million pairs from 60 kB."""
    maps = "".join(f"  - Conv: &m{i} {{<<: *m{i - 1}, k{i}: 1}}\n" for i in range(1, 2000))
    with pytest.raises(cn.UserError, match=r"merge keys .* stand for more than 150,000 values"):
        design.read(HEADER + "  - Conv: &m0 {channels: 1}\n" + maps)


def test_lists_that_repeat_one_another_are_counted_as_often_as_they_stand():
    laughs = "".join(f"  - Conv: {{channels: &l{i} [{', '.join([f'*l{i - 1}'] * 9)}]}}\n" for i in range(1, 9))
    with pytest.raises(cn.UserError, match="expected int, got"):
        design.read(HEADER + "  - Conv: {channels: &l0 [1]}\n" + laughs)
    words = ", ".join(["*l"] * 400)
    with pytest.raises(cn.UserError, match="a field has at most 10,000 values"):
        design.read(f"input: [&l [{', '.join('1' * 30)}], {words}]\n" + HEADER + "  ReLU")


def test_a_map_that_does_not_fit_is_named_with_its_file_line_and_path(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("input: [3, 8, 8]\ntail: ReLU\nbody:\n  - ReLU\n  - MaxPool: {kernel: 9}\nhead: []\n")
    with pytest.raises(cn.ShapeError, match=r"mine.yaml, line 5: body\.pool: MaxPool\(9\) got 3x8x8"):
        resolve(str(path))
    path.write_text("input: [3, 8, 8]\ntail: []\nbody: {Parallel: []}\nhead: []\n")
    with pytest.raises(cn.UserError, match=r"mine.yaml, line 3: Parallel: needs at least one part"):
        resolve(str(path))


def test_a_run_folder_is_a_design(tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    (run / "design.yaml").write_text(design.write(cn.network("lenet-5").replace(name="")))
    assert resolve(str(run)).name == "run"
    with pytest.raises(cn.UserError, match="the folder holds no run"):
        resolve(str(tmp_path))


@pytest.mark.parametrize(
    ("there", "asked", "hint"),
    [
        ("mine.yaml", "mine", "There is a file mine.yaml: give its whole name"),
        ("runs/mine/design.yaml", "mine", "There is a run folder runs/mine: give its path"),
        ("mine.pth", "mine.pth", "A file of weights is no network"),
        ("mine.txt", "mine.txt", "mine.txt exists, but such a file is none that is read"),
    ],
)
def test_what_lies_beside_is_named(there, asked, hint, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / there).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / there).touch()
    with pytest.raises(cn.UserError, match=hint):
        resolve(asked)
