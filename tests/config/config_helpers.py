"""What the config tests share."""

from __future__ import annotations

from collections.abc import Callable

from penstock.config import Loaded

Check = Callable[..., Loaded]

MODEL = """\
model_list:
  - model_name: fast
    litellm_params:
      model: openai/gpt-4o-mini
"""


def lines(loaded: Loaded) -> list[str]:
    return [str(problem) for problem in loaded.problems]


def errors(loaded: Loaded) -> list[str]:
    return [str(problem) for problem in loaded.errors]
