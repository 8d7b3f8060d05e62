"""Stand-ins for engines that cannot be installed here: each takes the options that its documentation has, and no others.

Run as a script whose first argument is the engine's name. STANDIN_MODE, words: `slow` (1 s to load), `crash` (ends while
it loads), `dies` (ends a second after it is ready), `never` (503 for good), `stubborn` (ignores SIGTERM), `worker` (has
started a process that left its group and session).
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

MODE = os.environ.get("STANDIN_MODE", "").split()


def read_vllm(args: list[str]) -> argparse.Namespace:
    """`vllm serve [model_tag] [options]`; the module and the image take `--model`. docs.vllm.ai/en/latest/cli/serve."""
    parser = argparse.ArgumentParser(allow_abbrev=False)
    if args[:1] == ["serve"]:
        args = args[1:]
        parser.add_argument("model")
    else:
        parser.add_argument("--model", required=True)
    for option in ("--host", "--served-model-name", "--tool-call-parser", "--dtype"):
        parser.add_argument(option)
    for option in ("--port", "--max-model-len", "--tensor-parallel-size"):
        parser.add_argument(option, type=int)
    parser.add_argument("--gpu-memory-utilization", type=float)
    parser.add_argument("--enable-auto-tool-choice", action="store_true")
    return parser.parse_args(args)


def read_sglang(args: list[str]) -> argparse.Namespace:
    """`python -m sglang.launch_server`. docs.sglang.ai/advanced_features/server_arguments."""
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("--model-path", "--model", dest="model", required=True)
    for option in ("--host", "--served-model-name", "--quantization"):
        parser.add_argument(option)
    for option in ("--port", "--tp-size", "--context-length"):
        parser.add_argument(option, type=int)
    parser.add_argument("--mem-fraction-static", type=float)
    return parser.parse_args(args)


def read_trtllm(args: list[str]) -> argparse.Namespace:
    """`trtllm-serve [OPTIONS] MODEL`. nvidia.github.io/TensorRT-LLM/0.18.2/commands/trtllm-serve."""
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("model")
    parser.add_argument("--host", default="localhost")
    parser.add_argument("--backend", choices=("pytorch", "tensorrt", "_autodeploy"))
    for option in ("--port", "--max_batch_size", "--max_num_tokens", "--max_seq_len", "--tp_size", "--pp_size"):
        parser.add_argument(option, type=int)
    parser.add_argument("--kv_cache_free_gpu_memory_fraction", type=float)
    parser.add_argument("--trust_remote_code", action="store_true")
    found = parser.parse_args(args)
    found.served_model_name = None
    return found


READ = {"vllm": read_vllm, "sglang": read_sglang, "trtllm": read_trtllm}
OWNED = {"vllm": "vllm", "sglang": "sglang", "trtllm": "tensorrt_llm"}


class Handler(BaseHTTPRequestHandler):
    name = ""  # the engine's
    model = ""
    ready = False

    def log_message(self, *args: object) -> None:
        """Say nothing."""

    def _send(self, status: int, body: object) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_GET(self) -> None:
        if not self.ready:
            self._send(503, {})
        elif self.path == "/health":
            self._send(200, {})
        elif self.path == "/v1/models":
            self._send(200, {"object": "list", "data": [{"id": self.model, "owned_by": OWNED[self.name]}]})
        else:
            self._send(404, {"detail": "Not Found"})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path != "/v1/chat/completions":
            self._send(404, {"detail": "Not Found"})
        elif body["model"] != self.model:
            self._send(404, {"error": {"message": f"The model `{body['model']}` does not exist.", "code": 404}})
        else:
            message = {"role": "assistant", "content": f"{self.name} serves {body['model']}"}
            choice = {"index": 0, "message": message, "finish_reason": "stop"}
            usage = {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}
            answer = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": self.model}
            self._send(200, {**answer, "choices": [choice], "usage": usage})


def load(name: str) -> None:
    """Write a log and a progress bar as the engines do, then be ready."""
    print(f"INFO {name} is starting: \x1b[32mgreen\x1b[0m")
    seconds = 1.2 if "slow" in MODE else 0.05
    for part in range(5):
        bar = f"Loading safetensors checkpoint shards: {part * 25:3d}% Completed | {part}/4 [00:00<00:01]"
        print(bar, end="\r" if part < 4 else "\n", file=sys.stderr, flush=True)
        time.sleep(seconds)
    if "crash" in MODE:
        print("torch.OutOfMemoryError: CUDA out of memory")
        os._exit(3)
    Handler.ready = "never" not in MODE
    if "dies" in MODE:
        time.sleep(1.5)
        print("the engine met a bug")
        os.kill(os.getpid(), signal.SIGSEGV)


def main(name: str, args: list[str]) -> None:
    found = READ[name](args)
    if "stubborn" in MODE:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if "worker" in MODE:
        # Twice away: its own session, and its parent ends at once.
        code = "import subprocess, sys; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'], start_new_session=True)"
        subprocess.run([sys.executable, "-c", code], check=True)
    Handler.name, Handler.model = name, found.served_model_name or found.model
    server = ThreadingHTTPServer((found.host, found.port), Handler)
    threading.Thread(target=load, args=(name,), daemon=True).start()
    server.serve_forever()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
