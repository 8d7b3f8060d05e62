"""What the gateway says it took itself: not what it waited for upstreams, nor until one may be asked again."""

from __future__ import annotations

from penstock.mock import Script, Step
from tests.door import HELLO, open_door
from tests.server.test_errors import yaml


async def test_a_wait_between_two_tries_is_no_work_of_the_gateways(tmp_path):
    script = Script(queue=(Step(status=500), Step(status=500)))
    async with open_door(tmp_path, yaml(retries=2), script=script) as door:
        status, headers, _ = await door.post(HELLO)
        assert status == 200 and headers["x-litellm-attempted-retries"] == "2"
        assert 0 <= float(headers["x-penstock-overhead-ms"]) < 400
        [record] = door.records
        assert record.ms > 1500 and 0 <= record.overhead_ms < 400, record  # 0.5 and 1 s between the tries


async def test_it_is_not_for_an_upstream_that_refuses_either(tmp_path):
    dead = yaml(retries=1).replace("{mock}", "http://127.0.0.1:9")
    async with open_door(tmp_path, dead) as door:
        status, headers, _ = await door.post(HELLO)
        assert status == 500 and float(headers["x-penstock-overhead-ms"]) < 300
