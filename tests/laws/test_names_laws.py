"""Whose a name is, when models, aliases, other names and groups of groups all have it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from penstock.core.route.catalog import Catalog, Member

names = st.sampled_from(["a", "b", "c", "d", "e", "x*"])


@given(
    st.lists(names, min_size=1, max_size=6),
    st.dictionaries(names.filter(lambda name: "*" not in name), names, max_size=3),
    st.dictionaries(names.filter(lambda name: "*" not in name), names, max_size=3),
    st.dictionaries(names.filter(lambda name: "*" not in name), st.lists(st.integers(0, 9)), max_size=3),
)
def test_who_a_name_belongs_to(models, aliases, renames, unions):
    """Other names of LiteLLM's module first, then groups, aliases of the router, groups of groups, patterns."""
    catalog: Catalog[int] = Catalog(
        [Member(name, str(n), n) for n, name in enumerate(models)], aliases, (), renames, unions
    )
    plain: Catalog[int] = Catalog([Member(name, str(n), n) for n, name in enumerate(models)])

    def served(name: str):
        """By a group or a group of groups of that name, which patterns come after."""
        if name not in models and unions.get(name) and name not in aliases:
            return tuple(unions[name])
        found = plain.find(name)
        return None if found is None else found.targets

    def renamed(name: str):
        """What the other name leads to, which may be an alias; None where it is none."""
        to = renames.get(name, name)
        if to == name:
            return None
        return served(aliases[to]) if to in aliases and to not in models and served(aliases[to]) else served(to)

    for name in "abcde":
        found = catalog.find(name)
        targets = None if found is None else found.targets
        led = renamed(name)
        if led is not None:
            assert targets == led, "also where that is another name itself"
        elif name in models:
            assert targets == plain.find(name).targets
        elif name in aliases:
            assert targets == served(aliases[name]) or served(aliases[name]) is None
        elif unions.get(name):
            assert targets == tuple(unions[name]) and name in catalog.unions and name in catalog.names()
        assert (name in catalog.unions) <= (name not in models and name not in aliases)
