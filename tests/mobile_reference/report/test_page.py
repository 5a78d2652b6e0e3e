"""Pages: nothing leaves them, nothing that stands in them is markup, every figure shows what it was given."""

import re
from dataclasses import replace
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

from mien.mobile_reference.bundle.reader import open_bundle
from mien.mobile_reference.bundle.shipped import shipped_bundle
from mien.mobile_reference.errors import BundleError
from mien.mobile_reference.report.bundle_page import bundle_page
from mien.mobile_reference.report.charts import cut
from mien.mobile_reference.report.contact_sheet import Rated, contact_sheet
from mien.mobile_reference.report.page import Gallery, Page, Picture, Section, Table, Text, write_page
from tests.commands import run_mien

from .pages import EVIL, page_of

VOID = {"meta", "img"}


class Reader(HTMLParser):
    """Reads a page, checks that what is opened is closed, and keeps what it says."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.stack: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.said: list[str] = []
        self.feed(text)
        assert self.stack == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.stack.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.stack.pop() == tag

    def handle_data(self, data: str) -> None:
        self.said.append(data)


@pytest.mark.parametrize(("title", "times"), [("by kind", 1), ("faces", 2)])
def test_what_a_heading_says_no_table_below_it_says_again(title: str, times: int):
    tables = [Table("by kind", ("kind", "n"), [("cleft", "2")])]
    page = Reader(write_page(Page("mien", "a name", [], [Section(title, tables)])))
    assert [one for one in page.said if one in ("by kind", title)] == [title, "by kind"][:times]
    # A reader by ear comes to it by its name all the same.
    assert [a["aria-label"] for tag, a in page.tags if a.get("role") == "region"] == ["by kind"]


def test_markup_stays_text_wherever_a_name_stands():
    page = Reader(write_page(page_of()))
    assert [tag for tag, _ in page.tags].count("script") == 1
    assert not [attributes for _, attributes in page.tags if "onerror" in attributes]
    assert {a["src"][:11] for _, a in page.tags if a.get("src")} == {"data:image/"}
    # Every block shows it: some in full, those of a graph as well.
    assert "".join(page.said).count(EVIL) > 10
    assert all(a.get("alt") for tag, a in page.tags if tag == "img")
    assert all(a.get("aria-label") for tag, a in page.tags if tag == "svg")
    # Not even of ours: a page refuses them, and says so in the console.
    assert not [a for _, a in page.tags if "style" in a]


def test_control_signs_and_what_is_no_unicode_are_written_out():
    text = write_page(page_of("a\x1b[31m\u202eb\udce9"))
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert r"a\x1b[31m\u202eb\xe9" in text
    text.encode("utf-8")


def test_a_page_names_no_address():
    assert not re.search(r"https?:|//[a-z]|@import|url\((?!#)", write_page(page_of("name")))


def test_a_column_of_numbers_stands_to_the_right():
    table = Table("", ("a", "b", "c", "d"), [("1", "x", "1,234", ""), ("-", "2", "5.1 %", "")])
    assert table.numeric == (True, False, True, False)
    assert Table("", ("a", "b"), []).numeric == (False, False)


def test_a_column_of_names_stays_on_one_line_and_one_of_sentences_does_not():
    sentence = "a reason of so many words that a phone has no room for them"
    table = Table("", ("variant", "why"), [("coreml-int8w", sentence), ("tflite-fp16", "")])
    assert table.brief == (True, False)
    page = write_page(Page("mien verify", "a", [], [Section("b", [table])]))
    assert '<td class="b">coreml-int8w</td>' in page
    assert f"<td>{sentence}</td>" in page


@pytest.mark.parametrize(("widths", "size"), [((192, 96), "small"), ((256,), "medium"), ((768, 96), "large")])
def test_columns_of_a_gallery_are_as_wide_as_its_pictures(widths: tuple[int, ...], size: str):
    gallery = Gallery([Picture("data:", width, 96, "a face") for width in widths])
    assert gallery.size == size
    assert f'class="gallery {size}"' in write_page(Page("mien appraise", "a", [gallery], []))


def test_long_names_are_cut():
    assert cut("abc", 3) == "abc"
    assert cut("abcd", 3) == "ab…"


def test_the_page_of_what_ships_says_what_it_is():
    page = Reader(bundle_page(open_bundle(shipped_bundle()), ["<b>beware</b>"]))
    said = "".join(page.said)
    for text in ("face: uint8 1 x 256 x 256 x 3", "tflite-fp16", "take this one", "<b>beware</b>"):
        assert text in said


@pytest.mark.parametrize(
    ("text", "said"),
    [('{"tflite-int8": {"<net>/a": "int8"}}', "&lt;net&gt;/a"), ("[1]", None), ('{"tflite-int8": 3}', None)],
)
def test_the_precision_of_every_block_is_told(text: str, said: str | None, tmp_path: Path):
    bundle = open_bundle(shipped_bundle())
    (tmp_path / "ranges").mkdir()
    (tmp_path / "ranges" / "precision.json").write_text(text)
    files = {**bundle.manifest["files"], "ranges/precision.json": {}}
    other = replace(bundle, path=tmp_path, manifest={**bundle.manifest, "files": files})
    if said is None:
        with pytest.raises(BundleError, match="not a table of precisions"):
            bundle_page(other, [])
        return
    assert said in bundle_page(other, [])
    assert "Precision by block" not in bundle_page(bundle, [])


def test_a_contact_sheet_of_ten_thousand():
    """What has no score comes first."""
    stream = BytesIO()
    Image.new("RGB", (8, 4)).save(stream, "JPEG")
    small = stream.getvalue()
    rated = [Rated(f"folder/{n}.jpg", float(n % 101), "", small) for n in range(10_000)]
    text = contact_sheet("tflite", "100 is typical", [*rated, Rated(EVIL, None, EVIL, b"")])
    assert text.count("<img") == 10_000
    assert text.index("Not rated") < text.index("By score")
    assert text.index("0.0 0.jpg") < text.index("100.0 100.jpg")
    assert EVIL not in text


def test_pages_go_where_they_can_be_written_alone(sample_folder: Path, tmp_path: Path):
    photo = sample_folder / "nobody-01.jpg"
    said = run_mien("appraise", photo, "--page", tmp_path / "none" / "x.html", expect=2).stderr
    assert said.count("\n") == 1
    assert "is not a folder" in said
    assert "is a folder" in run_mien("verify", "--page", tmp_path, expect=2).stderr


def test_a_report_of_an_older_version_makes_no_page(tmp_path: Path):
    (tmp_path / "old.json").write_text('{"format": 1, "results": []}')
    said = run_mien("bench", "page", tmp_path / "old.json", "-o", tmp_path / "x.html", expect=2).stderr
    assert said.count("\n") == 1
    assert "old.json" in said
    assert not (tmp_path / "x.html").exists()


def test_the_same_page_is_the_same_bytes():
    page = Page("mien verify", "a", [Text("b")], [Section("c", [Table("d", ("e",), [("1",)])])])
    assert write_page(page) == write_page(page)
