"""The HTML page of a report."""

import base64
import html.parser
import pathlib
import re

import pytest

from tests.train.synthetic import record, steps
from train import records
from train.report import page
from train.report.report import report

VOID = {"meta", "img", "br", "hr"}


class Parsed(html.parser.HTMLParser):
    """The tags of a page, in order, with its text; balanced, or an error."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.text, self._open = [], [], []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)

    def all(self, tag):
        return [attrs for name, attrs in self.tags if name == tag]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    root = tmp_path_factory.mktemp("runs")
    for seed, difference in enumerate((-1.0, -1.2, -0.9)):
        records.write(root, record("sgd-0.9", seed, [20.0, 6.0]), steps(2))
        own = record("lcam-0.9-0.95", seed, [20.0, 6.0 + difference], momentum_above=0.95)
        records.write(root, own, steps(2))
    records.write(root, record("sgd-0.95", 0, [20.0], epochs=3), steps(1))
    return report(root)


@pytest.fixture(scope="module")
def text(made):
    (path,) = [path for path in made.paths if path.name == "report.html"]
    return path.read_text()


def test_page_loads_nothing(text):
    parsed = Parsed(text)
    assert not parsed.all("script") + parsed.all("link") + parsed.all("iframe") + parsed.all("a")
    assert all(attrs["src"].startswith("data:image/png;base64,") for attrs in parsed.all("img"))
    assert not re.search(r"url\(|@import|https?:", text)
    (policy,) = [attrs["content"] for attrs in parsed.all("meta") if "http-equiv" in attrs]
    assert policy.startswith("default-src 'none'")


def test_verdict_comes_before_what_is_left_out_and_the_tables(text):
    verdict = text.index("lcam-0.9-0.95 is better than sgd-0.9 with 3 seeds")
    assert text.index("<h1>") < verdict < text.index("Left out") < text.index("<table>")


def test_page_has_every_figure_with_an_alternative_text(made, text):
    figures = {path.read_bytes() for path in made.paths if path.suffix == ".png"}
    images = Parsed(text).all("img")
    assert len(figures) == 3
    assert {base64.b64decode(attrs["src"].partition(",")[2]) for attrs in images} == figures
    assert "demo: test error, training loss" in images[0]["alt"]
    assert len({attrs["alt"] for attrs in images}) == 3


def test_page_has_every_table_in_a_region_that_scrolls(made, text):
    markdown = made.paths[0].read_text()
    regions = [attrs for attrs in Parsed(text).all("div") if attrs.get("class") == "scroll"]
    assert len(regions) == text.count("<table>") == len(re.findall(r"^\| :-- ", markdown, re.MULTILINE))
    assert regions[0]["aria-label"] == "demo: final test error (%)"
    assert all(attrs["tabindex"] == "0" for attrs in regions)


def test_page_fits_narrow_screens_and_follows_the_colour_scheme(text):
    assert 'name="viewport" content="width=device-width' in text
    assert "prefers-color-scheme: dark" in text


@pytest.mark.parametrize("name", ["<script>alert(1)</script>", '<img src="https://e.org/x.png">', "a&b"])
def test_names_are_escaped(name):
    parsed = Parsed(page.render(f"# {name}\n\n| {name} |\n| :-- |\n| {name} |\n\n`{name}`\n", {}, name))
    assert not parsed.all("script") + parsed.all("img")
    assert parsed.text.count(name) == len(("title", "heading", "head", "cell", "code"))


def test_pictures_from_elsewhere_and_links_stay_text():
    parsed = Parsed(page.render("![what](https://e.org/x.png) [there](https://e.org) <https://e.org>", {}, "t"))
    assert not parsed.all("img") + parsed.all("a")
    assert "what" in "".join(parsed.text)


def test_figure_is_found_by_a_name_with_spaces_and_accents():
    parsed = Parsed(page.render("![a](%C3%BC%20b.png)", {"ü b.png": b"png"}, "t"))
    assert parsed.all("img") == [{"alt": "a", "src": "data:image/png;base64,cG5n"}]


def test_alternative_text_of_an_unknown_figure_is_its_name():
    assert page.alt_text(pathlib.Path("out/other.png")) == "other"
    assert page.alt_text(pathlib.Path("out/a-b-steps.png")).startswith("a-b: loss and momentum")
