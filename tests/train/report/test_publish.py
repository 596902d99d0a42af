"""Publishing replaces the rows of marked tables and nothing else."""

import pytest
from matplotlib.figure import Figure
from PIL import Image

from train.errors import ConfigError
from train.report.publish import publish, redraw, rows_of

HEAD = "| a | b |\n|---|--:|\n"
TABLES = {
    "one": lambda results: [("1", results.name), ("2", "")],
    "two": lambda results: [("3", "4")],
}


def marked(name, *rows):
    lines = "".join(f"{row}\n" for row in rows)
    return f"<!-- table: {name} -->\n{HEAD}{lines}<!-- end -->"


@pytest.fixture
def document(tmp_path):
    path = tmp_path / "doc.md"
    path.write_text(f"# Title\n\n{marked('one', '| old | rows |')}\n\nText | with | bars.\n\n{marked('two')}\nEnd")
    return path


def test_rows_are_written_and_nothing_else_changes(document, tmp_path):
    assert publish(TABLES, [document], tmp_path / "results") == [document]
    assert document.read_text() == (
        f"# Title\n\n{marked('one', '| 1 | results |', '| 2 |  |')}\n\nText | with | bars.\n\n"
        f"{marked('two', '| 3 | 4 |')}\nEnd"
    )


def test_publishing_again_writes_nothing(document, tmp_path):
    publish(TABLES, [document], tmp_path)
    before = document.stat().st_mtime_ns
    assert publish(TABLES, [document], tmp_path) == []
    assert document.stat().st_mtime_ns == before


def test_tables_may_be_in_several_documents(tmp_path):
    paths = [tmp_path / "a.md", tmp_path / "b.md"]
    for path, name in zip(paths, TABLES, strict=True):
        path.write_text(marked(name))
    assert publish(TABLES, paths, tmp_path) == paths
    assert paths[1].read_text() == marked("two", "| 3 | 4 |")


def test_ends_of_lines_outside_the_tables_stay(tmp_path):
    path = tmp_path / "doc.md"
    path.write_bytes(b"a\r\nb\r" + f"\n{marked('two')}\n".encode() + b"\r\n")
    publish({"two": TABLES["two"]}, [path], tmp_path)
    assert path.read_bytes() == b"a\r\nb\r" + f"\n{marked('two', '| 3 | 4 |')}\n".encode() + b"\r\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (marked("one"), "No document has a marker for two"),
        (f"{marked('one')}\n{marked('two')}\n{marked('three')}", "Unknown tables are marked: three"),
        (f"{marked('one')}\n{marked('two')}\n{marked('one')}", "table one is marked twice"),
        (f"{marked('one')}\n{marked('two')[:-4]}", "table two: expected a head of two lines"),
        (f"{marked('one')}\n<!-- table: two -->\n| a |\n<!-- end -->", "table two: expected a head of two lines"),
        (f"<!-- table: one -->\n{HEAD}\n{marked('two')}", "table one: expected a head of two lines"),
    ],
    ids=["no marker", "unknown", "twice", "no end", "no head", "end of another table"],
)
def test_documents_that_are_not_in_order_are_refused_and_left(tmp_path, text, message):
    good, bad = tmp_path / "good.md", tmp_path / "bad.md"
    good.write_text("")
    bad.write_text(text)
    with pytest.raises(ConfigError, match=message):
        publish(TABLES, [good, bad], tmp_path)
    assert bad.read_text() == text


def test_a_record_that_cannot_be_read_leaves_all_documents(document, tmp_path):
    def fail(results):
        raise OSError("gone")

    before = document.read_text()
    with pytest.raises(OSError, match="gone"):
        publish({**TABLES, "two": fail}, [document], tmp_path)
    assert document.read_text() == before


def test_markers_inside_a_line_are_prose(tmp_path):
    assert rows_of("Write `<!-- table: NAME -->` above it.", tmp_path) == {}


def test_figures_are_drawn_with_their_description_and_only_if_they_changed(tmp_path):
    figures = {"a.png": lambda results: (Figure(figsize=(1, 1)), f"from {results.name}, 95 % \N{MINUS SIGN}1")}
    assert redraw(figures, tmp_path) == [tmp_path / "a.png"]
    image = Image.open(tmp_path / "a.png")
    assert image.text["Description"] == f"from {tmp_path.name}, 95 % \N{MINUS SIGN}1"
    assert image.mode == "P"
    assert redraw(figures, tmp_path) == []
