"""Fit a request to what its target takes, and give the client its own words back in the answer.

A pass of its own between parsing and rendering: it applies the facts of the *model*, wherever that is served, and the
limits of the *API* (names, ids, media, counts, sampling, thinking, forms of tools). What it does is a list of steps,
``steps.STEPS``, one file each; a step that only says something in another way returns what says it back.

The laws (tests/laws/test_fit_laws.py): an answer to a fitted request, undone, has the client's own words; fitting what
is fitted changes nothing; what is taken away is a ``Loss``.
"""

from penstock.core.fit.base import Filter as Filter
from penstock.core.fit.base import Fitted as Fitted
from penstock.core.fit.base import Step as Step
from penstock.core.fit.base import Takes as Takes
from penstock.core.fit.base import Undo as Undo
from penstock.core.fit.limits import Limits as Limits
from penstock.core.fit.limits import limits_of as limits_of
from penstock.core.fit.steps import fit as fit
