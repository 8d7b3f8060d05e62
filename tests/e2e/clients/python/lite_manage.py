"""LiteLLM's own client of the management API against the gateway. Runs in LiteLLM's environment, one JSON object out."""

from __future__ import annotations

import json
import os

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"

from litellm.proxy.client import Client
from litellm.proxy.client.teams import TeamsManagementClient
from litellm.proxy.client.users import UsersManagementClient

URL, KEY = os.environ["GATEWAY"], os.environ["KEY"]
client = Client(base_url=URL, api_key=KEY)
users, teams = UsersManagementClient(URL, KEY), TeamsManagementClient(URL, KEY)
told: dict[str, object] = {}

told["user"] = users.create_user({"user_id": "ann", "user_email": "ann@example.com", "auto_create_key": False})
told["key"] = made = client.keys.generate(models=["gpt-4o"], key_alias="mine", user_id="ann", duration="30d")
told["updated"] = client.keys.update(key=made["key"], aliases={"a": "gpt-4o"})
told["info"] = client.keys.info(made["key"])
told["keys"] = client.keys.list(size=10, return_full_object=True)
told["of_user"] = users.get_user("ann")
told["users"] = users.list_users({"user_ids": "ann"})
told["teams"] = teams.list()
told["teams_v2"] = teams.list_v2()
told["models"] = client.models.list()
told["model_info"] = client.models.info()
told["groups"] = client.model_groups.info()
told["readiness"] = client.health.get_readiness() if hasattr(client, "health") else None
told["deleted"] = client.keys.delete(keys=[made["key"]])
try:
    client.keys.info(made["key"])
except Exception as error:
    told["gone"] = type(error).__name__
told["user_deleted"] = users.delete_user(["ann"])
print(json.dumps(told, default=str))
