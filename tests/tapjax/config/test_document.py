from pathlib import Path

import pytest

from tapjax.config import document, schema

PAGE = Path(__file__).parents[3] / "docs" / "fields.md"
EVERY = {name: field for family in schema.FAMILIES for name, field in schema.fields(family).items()}


@pytest.mark.parametrize("name", EVERY)
def test_every_field_says_what_it_means(name):
    field = EVERY[name]
    assert field.help[0].isupper() or field.help.partition(" ")[0] in field.check.choices
    assert field.help.endswith(".") and field.check.fault(field.default) == ""


def test_the_page_is_made_from_the_tables():
    assert PAGE.read_text() == document.markdown(), "tapjax fields --markdown > docs/fields.md"


def test_a_familys_fields_are_its_own_and_the_common_ones():
    said = document.text("motifs")
    assert "  record.sketch = 256" in said and "  steps = 2000" in said
    assert "  tasks.kind = " not in said and "  tasks.kind = " in document.text()
    with pytest.raises(schema.ConfigError, match="did you mean 'motifs'"):
        document.text("motif")
    assert all(len(line) <= 100 for line in document.text().splitlines())
