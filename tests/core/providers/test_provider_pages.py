"""What docs/providers*.md say of the rows is what the rows say."""

from __future__ import annotations

import pytest

from penstock.core.providers import PROVIDERS
from penstock.core.providers.explain import by_model, explain
from penstock.core.providers.spec import NO_QUIRKS
from scripts.providers_page import DOCS, REGION, refreshed

PAGES = sorted(path.name for path in DOCS.glob("providers*.md"))


@pytest.mark.parametrize("name", PAGES)
def test_the_page_is_current(name: str) -> None:
    text = (DOCS / name).read_text(encoding="utf-8")
    assert text == refreshed(text), "run: python -m scripts.providers_page"


def test_every_row_is_on_the_page() -> None:
    text = (DOCS / "providers.md").read_text(encoding="utf-8")
    assert [name for name in PROVIDERS if f"| `{name}/` |" not in text] == []


def test_a_page_that_is_behind_is_written_anew() -> None:
    old = "# A\n\n<!-- rows: groq -->\nold words\n<!-- end -->\n\nmore\n"
    new = refreshed(old)
    assert "old words" not in new and "`reasoning`" in new
    assert new.startswith("# A\n") and new.endswith("\n\nmore\n") and refreshed(new) == new
    with pytest.raises(KeyError):
        refreshed("<!-- rows: nobody -->\n<!-- end -->")


def test_the_large_vendors_are_told_in_full() -> None:
    regions = {
        found[1] for found in REGION.finditer((DOCS / "providers-openai-compatible.md").read_text(encoding="utf-8"))
    }
    nine = "mistral groq deepseek xai together_ai fireworks_ai openrouter perplexity nvidia_nim"
    assert {*nine.split(), "trtllm", "engines"} <= regions


@pytest.mark.parametrize("name", [n for n, p in PROVIDERS.items() if p.quirks is not NO_QUIRKS])
def test_quirks_have_words(name: str) -> None:
    quirks = PROVIDERS[name].quirks
    assert explain(quirks) or any(lines for _, lines in by_model(quirks))
    assert bool(quirks.fit or quirks.mend) <= bool(quirks.notes)
    told = "\n".join([*explain(quirks), *(line for _, lines in by_model(quirks) for line in lines)])
    for word in (*quirks.rename, *quirks.drop, *quirks.unsupported, *quirks.weaken, *quirks.values, *quirks.clamp):
        assert f"`{word}`" in told
