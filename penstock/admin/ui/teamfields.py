"""The fields of the forms of a team, a user, an organisation and a budget."""

from __future__ import annotations

from penstock.admin.ui.fields import Field, Section
from penstock.admin.ui.keyfields import LIMIT_TYPES, PERIOD

ROLES = (
    ("internal_user", "Member: makes and uses keys of their own"),
    ("internal_user_viewer", "Viewer of their own: sees keys and spend of their own"),
    ("proxy_admin_viewer", "Viewer: sees everything, changes nothing"),
    ("proxy_admin", "Admin: may do everything"),
)
_BUDGET = (
    Field("max_budget", "Budget in $", "money", "Requests are refused once it is spent."),
    Field("budget_duration", "Budget starts anew every", help=PERIOD),
)
_PACE = (
    Field("rpm_limit", "Requests a minute", "count"),
    Field("tpm_limit", "Tokens a minute", "count"),
    Field("tpd_limit", "Tokens a day", "count"),
    Field("max_parallel_requests", "Requests at once", "count"),
)
_BY_MODEL = (
    Field("model_rpm_limit", "Requests a minute, by model", "json", 'Such as {"large-model": 10}.'),
    Field("model_tpm_limit", "Tokens a minute, by model", "json", 'Such as {"large-model": 10000}.'),
)
_SOFT = Field("soft_budget", "Soft budget in $", "money", "A warning is told once it is spent.")
_MODEL_BUDGETS = Field(
    "model_max_budget", "Budgets by model", "json", '{"large-model": {"budget_limit": 5, "time_period": "1d"}}'
)
_WINDOWS = Field("budget_limits", "Several windows", "json", '[{"budget_duration": "1d", "max_budget": 1}]')
_METADATA = Field("metadata", "Metadata", "json")

TEAM = (
    Section(
        "Basics",
        (
            Field("team_alias", "Name"),
            *_BUDGET,
            Field("models", "Models", "models", "None chosen: all models."),
            Field("organization_id", "Organisation", help="Its id."),
            Field("team_id", "Id", help="Empty: made at random.", when="new"),
        ),
        folded=False,
    ),
    Section("Pace", (*_PACE, *_BY_MODEL, Field("mcp_rpm_limit", "Requests a minute, by MCP server", "json"),
                     Field("rpm_limit_type", "Kind of the limit of requests", "choice", options=LIMIT_TYPES),
                     Field("tpm_limit_type", "Kind of the limit of tokens", "choice", options=LIMIT_TYPES))),
    Section(
        "Each member",
        (
            Field("team_member_budget", "Budget of each member in $", "money"),
            Field("team_member_budget_duration", "starts anew every", help=PERIOD),
            Field("team_member_rpm_limit", "Requests a minute", "count"),
            Field("team_member_tpm_limit", "Tokens a minute", "count"),
            Field("team_member_model_max_budget", "Budgets by model", "json"),
            Field("team_member_key_duration", "Keys of members end after", help="Such as 30d."),
            Field("default_team_member_models", "Models of new members", "list"),
            Field("team_member_permissions", "Members may call", "list", "Such as /key/generate, one a line."),
        ),
    ),
    Section("More budgets", (_SOFT, _WINDOWS, _MODEL_BUDGETS)),
    Section(
        "Access",
        (
            Field("model_aliases", "Names of models of its own", "json", '{"fast": "small-model"}'),
            Field("access_group_ids", "Access groups", "list"),
            Field("allowed_passthrough_routes", "Pass-through paths that it may call", "list"),
            Field("denied_passthrough_routes", "Pass-through paths that it may not", "list"),
            Field("allowed_vector_store_indexes", "Vector stores that it may ask", "json"),
            Field("object_permission", "Objects that it may use", "json"),
        ),
    ),
    Section(
        "Tags, guards and the rest",
        (
            Field("tags", "Tags", "list"),
            Field("guardrails", "Guards", "list"),
            Field("policies", "Policies", "list"),
            Field("prompts", "Prompts", "list"),
            Field("disable_global_guardrails", "Without the guards that hold for all", "flag"),
            Field("require_trace_id", "Requests must say their trace", "flag"),
            Field("default_estimated_output_tokens", "Tokens set aside for an answer", "count"),
            Field("default_estimated_output_tokens_per_model", "the same, by model", "json"),
            Field("router_settings", "Router settings", "json"),
            Field("secret_manager_settings", "Secret manager", "json"),
            Field("enforced_batch_output_expires_after", "Results of batches end after", "json"),
            Field("enforced_file_expires_after", "Files end after", "json"),
            _METADATA,
        ),
    ),
)  # fmt: skip

USER = (
    Section(
        "Basics",
        (
            Field("user_email", "E-mail"),
            Field("user_alias", "Name"),
            Field("user_role", "Role", "choice", options=ROLES),
            *_BUDGET,
            Field("models", "Models", "models", "None chosen: all models."),
            Field("user_id", "Id", help="Empty: made at random.", when="new"),
        ),
        folded=False,
    ),
    Section("Pace", (*_PACE, *_BY_MODEL)),
    Section("More budgets", (Field("budget_id", "Budget template"), _SOFT, _WINDOWS, _MODEL_BUDGETS)),
    Section(
        "The rest",
        (
            Field("password", "New password", "secret", "Empty: as it is.", when="change"),
            Field("tags", "Tags", "list"),
            Field("guardrails", "Guards", "list"),
            Field("policies", "Policies", "list"),
            Field("aliases", "Names of models of its own", "json"),
            Field("permissions", "Permissions", "json"),
            Field("object_permission", "Objects that it may use", "json"),
            _METADATA,
        ),
    ),
)

ORGANIZATION = (
    Section(
        "Basics",
        (
            Field("organization_alias", "Name", needed=True),
            *_BUDGET,
            Field("models", "Models", "models", "None chosen: all models."),
            Field("organization_id", "Id", help="Empty: made at random.", when="new"),
        ),
        folded=False,
    ),
    Section("Pace", (*_PACE, *_BY_MODEL)),
    Section("More", (_SOFT, _MODEL_BUDGETS, Field("object_permission", "Objects that it may use", "json"), _METADATA)),
)

BUDGET = (
    Section(
        "Basics",
        (Field("budget_id", "Name", help="By which keys and customers name it.", when="new", needed=True), *_BUDGET,
         _SOFT, *_PACE),
        folded=False,
    ),
    Section("More", (_MODEL_BUDGETS, Field("allowed_models", "Models", "list"),
                     Field("temp_budget_increase", "More for a time, in $", "money"),
                     Field("temp_budget_expiry", "until", help="A time, such as 2027-01-31T00:00:00Z."))),
)  # fmt: skip
