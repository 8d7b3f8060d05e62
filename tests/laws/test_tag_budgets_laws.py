"""Budgets of tags are never exceeded, whoever sends them, beside whatever budgets callers and stored tags have."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from penstock.core.admit.book import Book, Hold, Refusal
from penstock.core.admit.caller import Caller
from penstock.core.admit.holders import Cap, Holder
from penstock.runtime.accounts import Accounts
from penstock.runtime.admission import Admitted

NOW = 1_790_000_000.0
TAGS = ("chat", "bot", "x")
CAPS = st.builds(Cap, st.integers(0, 90), st.sampled_from(["", "1d", "1mo"]))
CALLS = st.lists(
    st.tuples(st.sampled_from("ab"), st.sets(st.sampled_from(TAGS)), st.integers(0, 20), st.integers(0, 100)),
    max_size=40,
)


@given(
    st.dictionaries(st.sampled_from(TAGS), st.lists(CAPS, min_size=1, max_size=2).map(tuple)),
    st.dictionaries(st.sampled_from(TAGS), CAPS, max_size=2),
    st.dictionaries(st.sampled_from("ab"), CAPS),
    CALLS,
)
def test_no_tag_spends_more_than_the_config_gives_it(config, stored, keys, calls) -> None:
    book = Book()
    accounts = Accounts(book, lambda: None, (), config)
    callers = {
        name: Caller(name, False, key=name, holders=(Holder("key", name, caps=(keys[name],) if name in keys else ()),))
        for name in "ab"
    }
    spent, open_ = Counter[str](), Counter[str]()
    for number, (name, tags, amount, share) in enumerate(calls):
        caller = callers[name]
        more = tuple(Holder("tag", tag, caps=(stored[tag],)) for tag in sorted(tags & stored.keys()))
        place, _ = accounts.place(caller, Admitted((*caller.holders, *more), tags=tuple(sorted(tags))))
        told = book.reserve(place.claims, place.cells, amount, NOW)
        caps = [(f"key:{name}", keys[name])] if name in keys else []
        for tag in tags:
            caps += [(f"tag:{tag}", cap) for cap in (*config.get(tag, ()), *([stored[tag]] if tag in stored else ()))]
        over = any(spent[of] + open_[of] + amount > cap.most or spent[of] >= cap.most for of, cap in caps)
        assert isinstance(told, Refusal) is over
        if isinstance(told, Hold):
            whose = (f"key:{name}", *(f"tag:{tag}" for tag in tags))
            assert set(whose) <= set(place.accounts)
            if number % 3:  # others stay under way
                actual = amount * share // 100
                book.settle(told, actual, NOW)
                spent.update(dict.fromkeys(whose, actual))
            else:
                open_.update(dict.fromkeys(whose, amount))
    for tag, caps_of in config.items():
        assert all(spent[f"tag:{tag}"] <= cap.most for cap in caps_of)
        assert set(accounts.periods(f"tag:{tag}")) >= {"", *(cap.period for cap in caps_of)}
