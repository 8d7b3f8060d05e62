"""The strategy lar1: which kind of deployment a caller's confidence asks for, and who of that kind."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from penstock.core.route.confidence import Levels, Stated, kind_for
from tests.laws.test_standing_laws import Made, fits, many


def test_the_caller_s_confidence_picks_by_weight_among_its_kind():
    made = [Made("a", kind="local"), Made("b", kind="local", weight=3), Made("c", kind="deep", weight=1)]
    fits(many(made, "lar1", wants="local"), {"b": 1.0})
    made[0].weight = 1.0
    fits(many(made, "lar1", wants="local"), {"a": 1.0, "b": 3.0})
    fits(many(made, "lar1", wants="deep"), {"c": 1.0})
    fits(many(made, "lar1", wants="cloud-fast"), {"a": 1.0, "b": 3.0, "c": 1.0})


@given(st.floats(0, 1), st.lists(st.floats(0.01, 0.99), min_size=3, max_size=3, unique=True))
def test_more_confidence_never_asks_for_more_help(confidence, given_):
    """The kinds stand in one order, and each begins at its own threshold."""
    levels = Levels(*sorted(given_))
    assert levels.hold
    order = ["cloud-smart", "cloud-fast", "local", "deep"]
    kind = kind_for(Stated(confidence=confidence), levels)
    assert order.index(kind) == sum(confidence >= level for level in levels)
