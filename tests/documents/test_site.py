"""The site shows every document; ``make docs`` builds it, strictly."""

import re

from tests.commands import ROOT

from . import site
from .pages import PAGES, without_root

MENU = re.findall(r": ((?:[\w.-]+/)*[\w.-]+\.md)$", (ROOT / "mkdocs.yml").read_text(), re.MULTILINE)


def test_the_menu_has_every_document_once():
    assert sorted(MENU) == sorted(map(without_root, PAGES))


def test_what_documents_link_to_is_gathered_with_them(tmp_path, monkeypatch):
    monkeypatch.setattr(site, "SOURCE", tmp_path / "pages")
    gathered = site.gather()
    assert len(gathered) == len(PAGES)
    for name in (*gathered, "docs/demo.jpg", "docs/tutorial/grader.py", "docs/examples/verify-bundle.yml"):
        assert (tmp_path / "pages" / name).read_bytes() == (ROOT / name).read_bytes()


def test_every_role_has_a_page():
    roles = {name for name in MENU if name.startswith("docs/roles/")}
    assert len(roles) == 5
    front = (ROOT / "docs" / "index.md").read_text()
    assert not [name for name in roles if f"({name.removeprefix('docs/')})" not in front]
