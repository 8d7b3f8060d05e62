"""How an answer is sampled, and where it stops: what a model refuses is left out, and numbers come into its range.

Claude from 4.7 on takes no sampling parameter at all. Who sets one means something by it, so that is an error, unless
the deployment says ``drop_params``. OpenAI's reasoning models: https://platform.openai.com/docs/guides/reasoning, and
for ``stop`` huggingface/smolagents pull request 1662 and issue 1893.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from msgspec.structs import replace

from penstock.core.errors import GatewayError
from penstock.core.fit.base import Takes, Undo
from penstock.core.fit.thinking import is_off
from penstock.core.ir import Loss, Request

LEAST_TOP_P = 0.95
"""Claude's least top_p beside thinking (https://platform.claude.com/docs/en/build-with-claude/extended-thinking)."""
_DEFAULT_TOP_P = 0.99  # from here on it asks for what happens anyway
_NONE_WITH = frozenset(("temperature", "top_p", "logprobs", "top_logprobs"))
# Parameter -> whether its value asks for nothing.
_SAYS_NOTHING: Mapping[str, Callable[[Any], bool]] = {
    "temperature": lambda value: value == 1,
    "top_p": lambda value: value >= _DEFAULT_TOP_P,
    "top_k": lambda value: False,
    "presence_penalty": lambda value: value == 0,
    "frequency_penalty": lambda value: value == 0,
    "logprobs": lambda value: not value,
    "top_logprobs": lambda value: value == 0,
    "logit_bias": lambda value: value == b"{}",
}
_CLAUDES = ("temperature", "top_p", "top_k")
_REASONERS = tuple(name for name in _SAYS_NOTHING if name != "top_k")


def fit_sampling(request: Request, takes: Takes, losses: list[Loss]) -> tuple[Request, Undo | None]:
    """Leave out the settings of sampling that the model refuses, and bring the others into its range."""
    model, limits = takes.model, takes.limits
    if request.dialect == takes.dialect:
        return request, None
    if model.is_claude:
        request = _of_claude(request, takes, losses)
    elif model.reasons:
        request = _of_reasoner(request, takes, losses)
    if limits.warmest and request.temperature is not None and request.temperature > limits.warmest:
        losses.append(Loss("temperature", f"at most {limits.warmest:g} here: sent as {limits.warmest:g}"))
        request = replace(request, temperature=limits.warmest)
    if request.stop:
        request = _stops(request, takes, losses)
    return request, None


def is_default(name: str, value: Any) -> bool:
    """Tell whether a parameter asks for what happens without it."""
    return _SAYS_NOTHING[name](value)


def _given(request: Request, names: tuple[str, ...], takes: Takes) -> dict[str, Any]:
    """Return the parameters that are set, but for those that the deployment says are taken."""
    found = {name: value for name in names if (value := getattr(request, name)) not in (None, b"")}
    return {name: value for name, value in found.items() if name not in takes.allowed} if takes.allowed else found


def _without(request: Request, names: Mapping[str, Any]) -> Request:
    return replace(request, **{name: b"" if name == "logit_bias" else None for name in names}) if names else request


def _of_claude(request: Request, takes: Takes, losses: list[Loss]) -> Request:
    if request.temperature is None and request.top_p is None and request.top_k is None:
        return request
    given = _given(request, _CLAUDES, takes)
    if not takes.model.takes_sampling:
        for name, value in given.items():
            if not is_default(name, value):
                losses.append(_refused(name, takes))
        return _without(request, given)
    left_out = {}
    if request.reasoning is not None and not is_off(request.reasoning):
        if given.get("temperature", 1) != 1:
            left_out["temperature"] = "cannot be set while thinking"
        if given.get("top_p", 1) < LEAST_TOP_P:
            left_out["top_p"] = f"must be at least {LEAST_TOP_P} while thinking"
        if "top_k" in given:
            left_out["top_k"] = "cannot be set while thinking"
    elif "temperature" in given and "top_p" in given and not takes.model.takes_both_samplers:
        left_out["top_p"] = "this model takes it or temperature, not both"
    losses += [Loss(name, why) for name, why in left_out.items()]
    return _without(request, left_out)


def _refused(name: str, takes: Takes) -> Loss:
    """Return the loss of a parameter, or raise "unsupported" where it must not be lost without being asked for."""
    if takes.drop_params:
        return Loss(name, "this model takes no such setting")
    raise refusal(name)


def refusal(name: str) -> GatewayError:
    """Make the error for a setting that the model refuses."""
    text = (
        f"{name!r} is not taken by this model: Claude from 4.7 on chooses by itself how it samples. Leave it out, or "
        "set drop_params: true for the deployment to have it left out."
    )
    return GatewayError("unsupported", text, param=name)


def _of_reasoner(request: Request, takes: Takes, losses: list[Loss]) -> Request:
    given = _given(request, _REASONERS, takes)
    if not given:
        return request
    reasoning = request.reasoning
    told = reasoning is not None and (reasoning.effort or reasoning.mode) in ("none", "disabled")
    if told and takes.model.version >= (5, 1):  # vercel/ai pull request 10940
        given = {name: value for name, value in given.items() if name not in _NONE_WITH}
    for name, value in given.items():
        if not is_default(name, value):
            losses.append(Loss(name, "this model takes no such setting while it reasons"))
    return _without(request, given)


def _stops(request: Request, takes: Takes, losses: list[Loss]) -> Request:
    if not takes.model.takes_stop and "stop" not in takes.allowed:
        losses.append(Loss("stop", "this model takes no stop sequences"))
        return replace(request, stop=())
    most = takes.limits.stops
    kept: list[str] = []
    for number, stop in enumerate(request.stop):
        if not takes.limits.blanks and not stop.strip():
            losses.append(Loss(f"stop.{number}", "a stop sequence of white space is refused"))
        elif most and len(kept) == most:
            losses.append(Loss(f"stop.{number}", f"at most {most} stop sequences here"))
        else:
            kept.append(stop)
    return request if len(kept) == len(request.stop) else replace(request, stop=tuple(kept))
