"""GET /v1/capabilities: what the map says, and what a deployment says over it."""

from __future__ import annotations

import json
from pathlib import Path

from tests.door import open_door

YAML = """
model_list:
  - model_name: seeing
    litellm_params: {model: openai/gpt-4o, api_base: "{mock}/v1", api_key: k}
  - model_name: blinded
    litellm_params: {model: openai/gpt-4o, api_base: "{mock}/v1", api_key: k}
    model_info: {supports_vision: false, supported_modalities: [text], max_input_tokens: 5000}
  - model_name: mine
    litellm_params: {model: hosted_vllm/mine, api_base: "{mock}/v1"}
    model_info: {supports_function_calling: true, supports_reasoning: true, max_output_tokens: 77, mode: chat}
  - model_name: painter
    litellm_params: {model: openai/gpt-image-1, api_base: "{mock}/v1", api_key: k}
"""


async def test_a_deployments_own_words_win(tmp_path: Path) -> None:
    async with open_door(tmp_path, YAML) as door:
        _, _, body = await door.ask("GET", "/v1/capabilities")
    rows = {row["id"]: row for row in json.loads(body)["data"]}
    assert "vision" in rows["seeing"]["supports"] and rows["seeing"]["max_input_tokens"] == 128000
    assert "vision" not in rows["blinded"]["supports"] and rows["blinded"]["max_input_tokens"] == 5000
    assert rows["mine"]["supports"] == ["function_calling", "reasoning"] and rows["mine"]["max_output_tokens"] == 77
    assert rows["painter"]["mode"] == "image_generation", rows["painter"]
