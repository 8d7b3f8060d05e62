"""The container's contract, read from the Dockerfile: it needs an engine to run, not to be checked."""

from __future__ import annotations

import json
import re
import shlex
from fnmatch import fnmatch

from tests.rules.repo import ROOT

DOCKERFILE = re.sub(r"\\\n", " ", (ROOT / "Dockerfile").read_text(encoding="utf-8"))
STAGES = re.split(r"(?m)^(?=FROM )", DOCKERFILE)[1:]


def _last(instruction: str) -> str:
    found = re.findall(rf"(?m)^{instruction} (.*)$", STAGES[-1])
    assert found, f"the last stage has no {instruction}"
    return str(found[-1])


def test_arguments_behind_the_image_name_reach_penstock() -> None:
    assert json.loads(_last("ENTRYPOINT")) == ["penstock"]  # the exec form: SIGTERM arrives, arguments are appended
    assert json.loads(_last("CMD"))[0] == "serve"


def test_it_is_slim_in_two_stages_and_not_root() -> None:
    assert len(STAGES) == 2 and all("-slim" in stage.split("\n")[0] for stage in STAGES)
    assert int(_last("USER")) > 0
    assert "pip install" not in STAGES[-1] and "--require-hashes" in STAGES[0]


def test_everything_it_copies_is_there_and_sent_to_the_engine() -> None:
    sent = [line[1:] for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines() if line[:1] == "!"]
    copied = [shlex.split(line)[:-1] for line in re.findall(r"(?m)^COPY (?!--from)(.*)$", STAGES[0])]
    names = [name for line in copied for name in line]
    assert names and [name for name in names if not (ROOT / name).exists()] == []
    assert [name for name in names if not any(fnmatch(name, pattern) for pattern in sent)] == []
    assert [name for name in sent if not (ROOT / name).exists()] == []


def test_port_and_healthcheck_agree_with_the_default() -> None:
    from penstock.cli.serve import DEFAULT_PORT

    assert int(_last("EXPOSE")) == DEFAULT_PORT and f"'{DEFAULT_PORT}'" in _last("HEALTHCHECK")
