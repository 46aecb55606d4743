"""A hook of MkDocs: the pages of the repository's own CHANGELOG.md and CONTRIBUTING.md."""

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGES = {"changelog.md": "CHANGELOG.md", "contributing.md": "CONTRIBUTING.md"}
# Links that are right where these files are.
LINKS = {
    "](docs/": "](",
    "[benchmarks/README.md](benchmarks/README.md)": "`benchmarks/README.md`",
    **{f"]({file})": f"]({page})" for page, file in PAGES.items()},
}


def on_page_markdown(markdown, page, **_):
    file = PAGES.get(page.file.src_path)
    if file is None:
        return markdown
    markdown = (ROOT / file).read_text(encoding="utf-8")
    for there, here in LINKS.items():
        markdown = markdown.replace(there, here)
    return markdown
