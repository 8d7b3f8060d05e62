"""What is known of an upstream's health: traffic tells, and a bare TCP connect now and then (``server/prober``)."""

from __future__ import annotations

TROUBLE_LASTS = 60.0  # seconds that a failed request is held against a target that is not asked any more


class Health:
    """What is known of one target's health. ``trouble``: the last upstream fault, forgotten at the next success or
    after ``TROUBLE_LASTS``. ``unreachable``: no connection could be made when last tried; forgotten like that, too,
    where nobody probes."""

    __slots__ = ("_lost", "_since", "_trouble", "unreachable")

    def __init__(self) -> None:
        self._trouble = ""
        self._since = 0.0
        self._lost = 0.0
        self.unreachable = ""

    @property
    def ill(self) -> bool:
        """Tell whether anything is held against the target."""
        return bool(self._trouble or self.unreachable)

    def succeeded(self) -> None:
        if self._trouble or self.unreachable:
            self._trouble = self.unreachable = ""

    def failed(self, message: str, kind: str, now: float) -> None:
        if kind == "connect":
            self.unreachable, self._lost = message, now
        else:
            self._trouble, self._since = message, now

    def trouble(self, now: float) -> str:
        """Tell why the target is not well, "" when it is (or nothing is known)."""
        if self._trouble and now - self._since > TROUBLE_LASTS:
            self._trouble = ""
        if self.unreachable and now - self._lost > TROUBLE_LASTS:
            self.unreachable = ""
        return self._trouble or self.unreachable

    def probed(self, trouble: str, ours: bool, now: float) -> None:
        """Note what a connect told ("" for success). ``ours``: it goes the way that requests go. A host behind a proxy
        cannot be reached by a bare connect, and a gateway that took this for the host's death would never be sent
        traffic again."""
        if not trouble or ours:
            self.unreachable, self._lost = trouble, now
