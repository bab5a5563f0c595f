"""What the documents promise is there, and what is there is documented."""

import re
from pathlib import Path

from models.catalog import ENDPOINTS
from scheduler.settings import Settings

ROOT = Path(__file__).parents[1]
ROW = re.compile(r"^\| `(ENLARGER_\w+)` \| (.*?) \| (.*) \|$", re.MULTILINE)


def test_the_table_of_settings_is_that_of_the_class() -> None:
    rows = ROW.findall((ROOT / "docs" / "settings.md").read_text())

    expected = [
        (
            f"ENLARGER_{name.upper()}",
            "" if field.default is None else f"`{field.default}`",
            field.description,
        )
        for name, field in Settings.model_fields.items()
    ]
    assert [tuple(row) for row in rows] == expected


def test_every_setting_is_described() -> None:
    assert [n for n, field in Settings.model_fields.items() if not field.description] == []


def test_the_readme_lists_every_endpoint() -> None:
    readme = (ROOT / "README.md").read_text()

    assert [endpoint for endpoint in ENDPOINTS if f"`{endpoint}`" not in readme] == []


def test_every_link_between_documents_leads_somewhere() -> None:
    broken = [
        (page.name, target)
        for page in [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")]
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text())
        if not (page.parent / target).exists()
    ]

    assert broken == []
