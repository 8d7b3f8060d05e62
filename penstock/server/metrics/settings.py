"""What the config says of metrics: who may read them, which are told, with which labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from penstock.runtime.tally import BUCKETS, MOST
from penstock.server.metrics.counted import Wanted

if TYPE_CHECKING:
    from penstock.config import Config

FAMILIES = ("both", "penstock", "litellm")
_THEIRS = "litellm_"


class MetricsSettings(Struct, frozen=True):
    """``token``: opens ``/metrics`` and nothing else, b"" for none. ``open``: everybody may read it. ``families``:
    which names are told. ``chosen``: of LiteLLM's names those that are told, with their labels, None for all of both;
    ``left`` and ``labels_left``: what is not told. ``all_budgets``: also of keys and teams that do not call."""

    token: bytes = b""
    open: bool = False
    families: str = "both"
    chosen: Mapping[str, frozenset[str] | None] | None = None
    left: frozenset[str] = frozenset()
    labels_left: frozenset[str] = frozenset()
    all_budgets: bool = False

    def wanted(self) -> Wanted:
        """Return what is told of the metrics."""
        return Wanted(self._tells, self._keeps)

    def _tells(self, name: str) -> bool:
        if name in self.left:
            return False
        theirs = name.startswith(_THEIRS)
        if self.families == ("penstock" if theirs else "litellm") and not name.startswith("process_"):
            return False
        return not theirs or self.chosen is None or name in self.chosen

    def _keeps(self, name: str, labels: Sequence[str]) -> Sequence[str]:
        if not name.startswith(_THEIRS):
            return labels
        chosen = None if self.chosen is None else self.chosen.get(name)
        return [one for one in labels if one not in self.labels_left and (chosen is None or one in chosen)]


def read_metrics(config: Config) -> MetricsSettings:
    """Read the settings. What cannot be read was said when the config was loaded, and counts as not there."""
    general, litellm = config.general.values, config.litellm.values
    token = general.get("metrics_token")
    text = token.reveal() if token is not None else ""
    return MetricsSettings(
        token=text.encode(),
        open=litellm.get("require_auth_for_metrics_endpoint") is False,
        families=str(general.get("metrics_families") or "both"),
        chosen=_chosen(litellm.get("prometheus_metrics_config")),
        left=_names(litellm.get("prometheus_exclude_metrics")),
        labels_left=_names(litellm.get("prometheus_exclude_labels"), bare=False),
        all_budgets=litellm.get("prometheus_initialize_budget_metrics") is True,
    )


def read_counting(config: Config) -> tuple[tuple[float, ...], int]:
    """Read the bounds of times, in seconds, and how many sets of labels are counted by themselves."""
    values = config.litellm.values
    return buckets_of(values.get("prometheus_latency_buckets")) or BUCKETS, int(
        values.get("prometheus_metrics_max_series_per_metric") or MOST
    )


def buckets_of(said: Any) -> tuple[float, ...]:
    """Read bounds: rising numbers of seconds, at most a hundred; () for what is none."""
    found = [float(one) for one in said or () if isinstance(one, int | float) and 0 < one < float("inf")]
    return tuple(found) if found and found == sorted(set(found)) and len(found) <= 100 else ()


def _chosen(groups: Any) -> dict[str, frozenset[str] | None] | None:
    if not isinstance(groups, Sequence) or isinstance(groups, str) or not groups:
        return None
    found: dict[str, frozenset[str] | None] = {}
    for group in groups:
        if isinstance(group, Mapping):
            labels = group.get("include_labels")
            for name in _names(group.get("metrics")):
                found[name] = None if labels is None else _names(labels, bare=False)
    return found


def _names(said: Any, bare: bool = True) -> frozenset[str]:
    """Read names; ``bare``: of metrics, which are written with the ending of counters or without."""
    names = [said] if isinstance(said, str) else said if isinstance(said, Sequence) else ()
    texts = [str(name) for name in names]
    return frozenset([text.removesuffix("_total") if bare else text for text in texts])
