"""A stand-in for docker with the host's network: `run` starts what the image would, `rm --force NAME` kills it.

FAKE_DOCKER is the folder where it notes its calls and its containers. An image's entry point is looked up in `IMAGES`.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
PLACE = Path(os.environ["FAKE_DOCKER"])
STANDIN = [sys.executable, str(HERE / "standin.py")]
TWO = ("--name", "--network", "-v", "-e", "--gpus", "--ulimit")


def read_run(args: list[str]) -> tuple[str, list[tuple[str, str]], str, list[str]]:
    """Take `docker run` apart: the name, the mounts, the image, and what follows it."""
    name, mounts = "", []
    while args and args[0].startswith("-"):
        word = args.pop(0)
        if word in TWO:
            value = args.pop(0)
            if word == "--name":
                name = value
            elif word == "-v":
                outside, _, inside = value.removesuffix(":ro").partition(":")
                mounts.append((outside, inside))
        elif word not in ("--rm", "--ipc=host"):
            sys.exit(125)
    return name, mounts, args.pop(0), args


def entry(image: str, words: list[str]) -> list[str]:
    if "vllm-openai" in image:
        return [*STANDIN, "vllm", *words]
    if "sglang" in image and words[:3] == ["python3", "-m", "sglang.launch_server"]:
        return [*STANDIN, "sglang", *words[3:]]
    if "tensorrt-llm" in image and words[:1] == ["trtllm-serve"]:
        return [*STANDIN, "trtllm", *words[1:]]
    if image.startswith(("ghcr.io/berriai/litellm:", "penstock:")) and not image.endswith(":broken"):
        return [sys.executable, "-m", "penstock", *words]
    print(f"Unable to find image '{image}' locally", file=sys.stderr)
    sys.exit(125)


def main(args: list[str]) -> None:
    PLACE.mkdir(exist_ok=True)
    with (PLACE / "calls").open("a") as file:
        file.write(json.dumps(args) + "\n")
    if args[0] == "rm":
        note = PLACE / f"container-{args[-1]}"
        if note.exists():
            try:
                os.killpg(int(note.read_text()), signal.SIGKILL)
            except ProcessLookupError:
                pass
            note.unlink()
        return
    name, mounts, image, words = read_run(args[1:])
    command = entry(image, words)
    # The gateway reads its file; the engines' stand-ins only have the name of the model that they would see.
    files = {inside: outside for outside, inside in mounts if inside == "/app/config.yaml"}
    command = [files.get(word, word) for word in command]
    note = PLACE / f"container-{name}"
    if note.exists():
        print(f'The container name "/{name}" is already in use', file=sys.stderr)
        sys.exit(125)
    # As with the real one, killing the client leaves the container running.
    process = subprocess.Popen(command, start_new_session=True)
    note.write_text(str(process.pid))
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, frame: process.send_signal(number))
    code = process.wait()
    note.unlink(missing_ok=True)
    sys.exit(code if code >= 0 else 128 - code)


if __name__ == "__main__":
    main(sys.argv[1:])
