"""``always_include_stream_usage``: chats that are streamed tell their usage, unless the client says that it wants none."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.door import HELLO, open_door
from tests.server.test_limits import CONFIG


def usages(answer: bytes) -> list[Any]:
    lines = [line[6:] for line in answer.split(b"\n") if line.startswith(b"data: {")]
    return [told["usage"] for line in lines if (told := json.loads(line)).get("usage")]


@pytest.mark.parametrize("model", ["m", "claude"])
@pytest.mark.parametrize("always", [True, False])
@pytest.mark.parametrize(
    ("options", "wanted"),
    [(None, None), ({}, None), ({"include_usage": True}, True), ({"include_usage": False}, False)],
)
async def test_usage_is_told_where_nobody_said_otherwise(tmp_path, model, always, options, wanted) -> None:
    yaml = CONFIG + f"general_settings: {{always_include_stream_usage: {str(always).lower()}}}\n"
    async with open_door(tmp_path, yaml) as door:
        body = {**HELLO, "model": model, "stream": True, "stream_options": options}
        status, _, answer = await door.post(body)
        assert status == 200
        assert bool(usages(answer)) == (always if wanted is None else wanted)
        status, _, answer = await door.post({**HELLO, "model": model})
        assert status == 200 and json.loads(answer)["usage"]
