"""The page of guards: which there are, how they stand, and what one makes of a text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from penstock.admin.ui.inner import ask, need
from penstock.admin.ui.rows import form, page
from penstock.admin.ui.view import Blank, form_of, render
from penstock.runtime.gate import PAGE_VIEW

if TYPE_CHECKING:
    from penstock.runtime.call import Call
    from penstock.runtime.route import Page


async def show(gateway: Any, call: Call) -> Page:
    """List the guards."""
    return await _show(gateway, call, {})


async def _show(gateway: Any, call: Call, typed: dict[str, str], status: int = 200, **more: Any) -> Page:
    rows = (await need(gateway, call, "GET", "/guardrails/list"))["guardrails"]
    more = {"told": None, "wrong": "", **more}
    return render(gateway, call, "guards.html", status, rows=rows, typed=Blank(typed), **more)


async def judge(gateway: Any, call: Call) -> Page:
    """Show what a guard makes of a text. A block is what one wants to see, and no fault of the form."""
    typed = form_of(call)
    body = {"guardrail_name": typed.get("guard", ""), "text": typed.get("text", "")}
    told = await ask(gateway, call, "POST", "/guardrails/apply_guardrail", body)
    if told.good:
        return await _show(gateway, call, typed, told=told.said)
    blocked = told.status == 400 and "Content blocked" in told.error
    return await _show(gateway, call, typed, 200 if blocked else told.status, wrong=told.error, blocked=blocked)


ROUTES = (page("/guards", show, PAGE_VIEW), form("/guards", judge, PAGE_VIEW))
