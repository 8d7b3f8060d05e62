"""The fields of the forms of a virtual key: everything that may be set of one."""

from __future__ import annotations

from penstock.admin.ui.fields import Field, Section

LIMIT_TYPES = (("", "as it is"), ("guaranteed_throughput", "guaranteed"), ("best_effort_throughput", "best effort"),
               ("dynamic", "dynamic: while the model has no trouble it may be exceeded"))  # fmt: skip
KEY_TYPES = (("", "any call"), ("llm_api", "models only"), ("management", "management only"),
             ("read_only", "reading only"))  # fmt: skip
PERIOD = "Such as 30s, 1h, 1d, 30d, 1mo. Empty: it counts for ever."
_PACE = Section(
    "Pace",
    (
        Field("rpm_limit", "Requests a minute", "count"),
        Field("tpm_limit", "Tokens a minute", "count"),
        Field("tpd_limit", "Tokens a day", "count"),
        Field("max_parallel_requests", "Requests at once", "count"),
        Field("rpm_limit_type", "Kind of the limit of requests", "choice", options=LIMIT_TYPES),
        Field("tpm_limit_type", "Kind of the limit of tokens", "choice", options=LIMIT_TYPES),
        Field("model_rpm_limit", "Requests a minute, by model", "json", 'Such as {"large-model": 10}.'),
        Field("model_tpm_limit", "Tokens a minute, by model", "json", 'Such as {"large-model": 10000}.'),
        Field("mcp_rpm_limit", "Requests a minute, by MCP server", "json"),
        Field("tag_rpm_limit", "Requests a minute, by tag", "json"),
    ),
)
_ACCESS = Section(
    "Access",
    (
        Field("key_type", "May call", "choice", options=KEY_TYPES),
        Field("allowed_routes", "Only these paths", "list"),
        Field("allowed_ips", "Only from these addresses", "list", "IP addresses or networks, one a line."),
        Field("access_group_ids", "Access groups", "list"),
        Field("aliases", "Names of models of its own", "json", '{"fast": "small-model"}'),
        Field("enforced_params", "Requests must have", "list"),
        Field("allowed_passthrough_routes", "Pass-through paths that it may call", "list"),
        Field("denied_passthrough_routes", "Pass-through paths that it may not", "list"),
        Field("allowed_cache_controls", "Cache controls that it may send", "list"),
        Field("allowed_vector_store_indexes", "Vector stores that it may ask", "json"),
        Field("permissions", "Permissions", "json"),
        Field("object_permission", "Objects that it may use", "json"),
        Field("organization_id", "Organisation"),
        Field("project_id", "Project"),
        Field("agent_id", "Agent"),
    ),
)
_TAGS = Section(
    "Tags and guards",
    (
        Field("tags", "Tags", "list", "Every request has them, one a line."),
        Field("guardrails", "Guards", "list"),
        Field("policies", "Policies", "list"),
        Field("prompts", "Prompts", "list"),
        Field("disable_global_guardrails", "Without the guards that hold for all", "flag"),
        Field("enable_prompt_caching", "Mark prompts for the providers' caches", "flag"),
    ),
)
_REST = Section(
    "Rotation and the rest",
    (
        Field("auto_rotate", "A new secret now and then, by itself", "flag"),
        Field("rotation_interval", "every", help="Such as 30d."),
        Field("default_estimated_output_tokens", "Tokens set aside for an answer", "count"),
        Field("default_estimated_output_tokens_per_model", "the same, by model", "json"),
        Field("router_settings", "Router settings", "json"),
        Field("config", "Config", "json"),
        Field("metadata", "Metadata", "json", "Goes with every request to where records are sent."),
        Field("key", "The key itself", "secret", "Empty: made at random, which is safer.", when="new"),
    ),
)


def sections(teams: tuple[tuple[str, str], ...], budgets: tuple[tuple[str, str], ...]) -> tuple[Section, ...]:
    """Return the form. ``teams``, ``budgets``: id and name of those that may be chosen."""
    team = Field("team_id", "Team", "choice", "Its models and budget hold, too.", (("", "none"), *teams))
    template = Field("budget_id", "Budget template", "choice", "Limits that are not set here are those of it.",
                     (("", "none"), *budgets))  # fmt: skip
    return (
        Section(
            "Basics",
            (
                Field("key_alias", "Name", help="What lists and reports call it."),
                Field("max_budget", "Budget in $", "money", "Requests are refused once it is spent."),
                Field("budget_duration", "Budget starts anew every", help=PERIOD),
                Field("duration", "Ends after", help="Such as 30d; empty: never.", when="new"),
                Field("duration", "Ends, from now on, after", help="Such as 30d, or -1 for never; empty: as it is.",
                      when="change"),
                Field("models", "Models", "models", "None chosen: all that the owner may call."),
                team,
                Field("user_id", "User", help="The id of whom it belongs to."),
            ),
            folded=False,
        ),
        _PACE,
        Section(
            "More budgets",
            (
                template,
                Field("soft_budget", "Soft budget in $", "money", "A warning is told once it is spent."),
                Field("budget_limits", "Several windows", "json", '[{"budget_duration": "1d", "max_budget": 1}]'),
                Field("model_max_budget", "Budgets by model", "json",
                      '{"large-model": {"budget_limit": 5, "time_period": "1d"}}'),
                Field("budget_fallbacks", "Other models once a budget is spent", "json", '{"large": ["small"]}'),
                Field("throttle_on_budget_exceeded", "Slow down, and do not refuse, once it is spent", "flag"),
                Field("temp_budget_increase", "More for a time, in $", "money", when="change"),
                Field("temp_budget_expiry", "until", help="A time, such as 2027-01-31T00:00:00Z.", when="change"),
                Field("end_user_budget_id", "Budget template of end users"),
            ),
        ),
        _ACCESS,
        _TAGS,
        _REST,
    )  # fmt: skip
