"""Where records of requests are sent: one file for each kind of place, one row here.

A name is what users write in ``success_callback``; several may mean the same place, as LiteLLM has it. What is no name
of this table is the path of an object of Python (``my_file.instance``), which only a config file may name.
"""

from __future__ import annotations

from penstock.sinks.base import Make
from penstock.sinks.helicone import Helicone
from penstock.sinks.langfuse import Langfuse
from penstock.sinks.lines import File, Stdout
from penstock.sinks.mlflow import MLflow
from penstock.sinks.webhook import Webhook

SINKS: dict[str, Make] = {
    "langfuse": Langfuse,
    "helicone": Helicone,
    "mlflow": MLflow,
    "webhook": Webhook,
    "generic_api": Webhook,
    "generic": Webhook,
    "stdout": Stdout,
    "file": File,
}
ELSEWHERE = frozenset(
    """agentops argilla arize arize_phoenix athina aws_sqs azure_sentinel azure_storage braintrust clickhouse cloudzero
    datadog datadog_llm_observability datadog_metrics deepeval dotprompt dynamic_rate_limiter dynamic_rate_limiter_v3
    dynamodb email galileo gcs_bucket gcs_pubsub greenscale humanloop lago langfuse_otel langsmith langtrace literalai
    logfire lunary newrelic openmeter opik otel pagerduty posthog promptlayer s3 s3_v2 sentry signoz slack
    supabase traceloop vector_store_pre_call_hook wandb weave_otel""".split()
)
"""Names that LiteLLM has, and that send nothing here."""
LOCAL = frozenset(("stdout", "file"))
"""Those that write on this machine."""
COUNTED = frozenset(("prometheus",))
"""Those that ask for what is counted anyway: see ``server/metrics``."""
OWN = {
    "langfuse": (
        "langfuse_public_key langfuse_secret_key langfuse_secret langfuse_host langfuse_base_url langfuse_release "
        "langfuse_tracing_environment"
    ),
    "helicone": "helicone_api_key helicone_api_base",
    "mlflow": (
        "mlflow_tracking_uri mlflow_experiment_id mlflow_experiment_name mlflow_tracking_username "
        "mlflow_tracking_password mlflow_tracking_token"
    ),
}
"""What a team or a key may set for itself, and the variables of each. Where an address is among them,
nothing is taken from the gateway's environment: its secrets would be sent to somebody else's place."""
EVERYWHERE = "turn_off_message_logging"
"""What each of them may set, too."""
ADDRESSES = frozenset(("langfuse_host", "langfuse_base_url", "helicone_api_base", "mlflow_tracking_uri"))
"""Those of the variables that say where records go."""
CLOUDS = frozenset(("cloud.langfuse.com", "us.cloud.langfuse.com", "hipaa.cloud.langfuse.com", "jp.cloud.langfuse.com",
                    "api.worker.helicone.ai", "api.helicone.ai", "api.us.helicone.ai", "api.hconeai.com"))  # fmt: skip
"""Hosts of the services themselves: where anybody who may set an address may send to."""
