"""Reading flow files."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lifecycle.scheduler import FlowError
from lifecycle.scheduler._language.document import read_document


def refusal(path: Path) -> str:
    """Return the one line that says why a file is refused."""
    with pytest.raises(FlowError) as caught:
        read_document(path)
    assert len(caught.value.problems) == 1
    line = caught.value.problems[0]
    assert "\n" not in line
    assert line.startswith(path.name)
    return line


def test_toml_and_json_say_the_same(tmp_path: Path) -> None:
    """A name that ends in .json is read as JSON, everything else as TOML."""
    (tmp_path / "a.toml").write_text('[blocks.a]\ncall = "x"\nargs = [1, 2.5, true]\n')
    (tmp_path / "a.json").write_text('{"blocks": {"a": {"call": "x", "args": [1, 2.5, true]}}}')
    assert read_document(tmp_path / "a.toml") == read_document(tmp_path / "a.json")


@pytest.mark.parametrize(("name", "text"), [("a.toml", "a = 1"), ("a.json", '{"a": 1}')])
def test_a_mark_of_the_byte_order_is_no_part_of_the_text(tmp_path: Path, name: str, text: str) -> None:
    """Editors on Windows begin a UTF-8 file with one."""
    (tmp_path / name).write_text(text, encoding="utf-8-sig")
    assert read_document(tmp_path / name) == {"a": 1}


def test_dots_in_a_text_are_no_key(tmp_path: Path) -> None:
    """Only what stands where a key can begin counts its parts."""
    (tmp_path / "a.toml").write_text(f"[{'a.' * 90}a]\nx = '{'a.' * 300}' # {'a.' * 300}\n")
    assert read_document(tmp_path / "a.toml")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.toml", b"", "is empty"),
        ("a.toml", b" \n\t\n", "is empty"),
        ("a.json", b"", "is empty"),
        ("a.toml", b"blocks = [", "is not valid TOML"),
        ("a.toml", b"\x7fELF\x02\x01\x01\x00\x00", "is not valid TOML"),
        ("a.toml", b"x = 1\n\xff\xfe\x00", "is not a UTF-8 text (byte 6, at line 2)"),
        ("a.toml", "a = 1".encode("utf-16"), "is not a UTF-8 text but one of UTF-16 or UTF-32; save it as UTF-8"),
        ("a.toml", b"x = 1\ny = " + b"9" * 5_000, "is not valid TOML: an integer of thousands of digits (at line 2)"),
        ("a.toml", b"x = 1\n" + b"a." * 5_000_000 + b"a = 1", "a key of more than 100 parts (at line 2)"),
        ("a.toml", b"[" + b"a . " * 300 + b"a]", "a key of more than 100 parts (at line 1)"),
        ("a.toml", b"x = {y = 1, " + b"'a'.\"b\"." * 300 + b"a = 1}", "a key of more than 100 parts (at line 1)"),
        ("a.json", b"{", "is not valid JSON"),
        ("a.json", b"[1]", "expected a table at the top, got a list of 1"),
        ("a.json", b'{"a": 1, "a": 2}', "the name 'a' is used twice"),
        ("a.toml", b"[blocks.a]\n[blocks.a]\n", "is not valid TOML"),
        ("a.json", b'{"a": NaN}', "a: expected a finite number, got nan"),
        ("a.toml", b"a = inf", "a: expected a finite number, got inf"),
        ("a.toml", b"a = 1979-05-27", "a: expected a string, number, boolean, list or table, got a date"),
        ("a.json", b'{"a": ' + b"9" * 30 + b"}", "a: an integer of more than 64 bits"),
        ("a.json", b'{"a": ' + b"9" * 5_000 + b"}", "is not valid JSON: an integer of thousands of digits (at line 1)"),
        ("a.json", b'{"a": "\\u0000"}', "a: a string with a null character"),
        ("a.json", b'{"a": "\\ud800"}', "a: a string that is not valid Unicode"),
        ("a.json", b'{"a": ' + b"[" * 200 + b"]" * 200 + b"}", "nested deeper than"),
        ("a.json", b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "nested too deeply"),
        ("a.toml", b"a = " + b"[" * 100_000 + b"]" * 100_000, "nested too deeply"),
    ],
    ids=lambda value: value[:20].decode("latin-1") if isinstance(value, bytes) else str(value)[:30],
)
def test_what_is_no_flow_file_is_refused_in_one_line(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    """Every refusal is one line that begins with the file's name."""
    path = tmp_path / name
    path.write_bytes(content)
    assert message in refusal(path)


def test_a_string_of_ten_megabytes_is_refused_with_its_place(tmp_path: Path) -> None:
    """The message names the place and the size, and does not contain the string."""
    path = tmp_path / "a.toml"
    path.write_text(f'[blocks.a.args]\ntext = "{"x" * 10_000_000}"\n')
    line = refusal(path)
    assert "blocks.a.args.text: a string of 10,000,000 characters" in line
    assert len(line) < 300


def test_a_key_of_ten_megabytes_is_refused_in_a_short_line(tmp_path: Path) -> None:
    """A huge name is not printed."""
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"x" * 10_000_000: 1}))
    line = refusal(path)
    assert "a key of 10,000,000 characters" in line
    assert len(line) < 500


def test_a_file_that_is_too_large_is_not_read_to_its_end(tmp_path: Path) -> None:
    """One of a terabyte, nearly all of it a hole, is refused as too large."""
    path = tmp_path / "a.toml"
    path.touch()
    os.truncate(path, 2**40)
    assert "is larger than 16,777,216 bytes" in refusal(path)


@pytest.mark.parametrize("name", ["missing.toml", ".", "missing/a.toml", "a\0b.toml"])
def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path, name: str) -> None:
    """No such file, a directory, an impossible name: one line."""
    with pytest.raises(FlowError) as caught:
        read_document(tmp_path / name)
    assert "cannot be read" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    """Nobody may ever write into it; and a device may never end."""
    os.mkfifo(tmp_path / "flow.toml")
    for path, kind in ((tmp_path / "flow.toml", "a pipe"), (Path("/dev/zero"), "a device"), (tmp_path, "a directory")):
        assert f"cannot be read: it is {kind}" in refusal(path)


@settings(max_examples=200)
@given(st.binary(max_size=200), st.sampled_from(["a.toml", "a.json"]))
def test_any_bytes_are_read_or_refused(tmp_path_factory: pytest.TempPathFactory, content: bytes, name: str) -> None:
    """No content makes the reader fail in another way."""
    path = tmp_path_factory.mktemp("any") / name
    path.write_bytes(content)
    lines: tuple[str, ...] = ()
    try:
        assert isinstance(read_document(path), dict)
    except FlowError as error:
        lines = error.problems
    assert all("\n" not in line for line in lines)
