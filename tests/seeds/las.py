"""What the tests of seed 1's Python share: a mock as every provider, and the folder with the seed's import paths."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import penstock.compat

COMPAT = Path(penstock.compat.__path__[0])
ROOT = COMPAT.parent.parent


def env_of(url: str) -> dict[str, str]:
    """Variables by which all providers are the mock."""
    return {
        "OLLAMA_BASE_URL": url,
        "OPENAI_API_KEY": "sk-openai",
        "OPENAI_API_BASE": f"{url}/v1",
        "ANTHROPIC_API_KEY": "sk-ant",
        "ANTHROPIC_API_BASE": url,
    }


def run_code(code: str, url: str, folder: Path, *, python: str | Path = sys.executable, **more: str) -> str:
    """Run a program as its users do, with the seed's imports on its path; return what it prints."""
    env = {"PATH": os.environ["PATH"], "HOME": str(folder), **env_of(url), **more}
    env["PYTHONPATH"] = os.pathsep.join(map(str, (COMPAT, ROOT)))
    done = subprocess.run([str(python), "-c", code], cwd=folder, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


# The seed's own blocks, as they stand there.
SERVICE = """
from services.litellm_service import get_litellm_service

svc = get_litellm_service()

# Sync completion
response = svc.chat_completion(
    messages=[{"role": "user", "content": "Hello!"}],
    model="llama3.2",
    provider="ollama"
)
print(response.choices[0].message.content)
"""
ASYNC = """
# Async completion
response = await svc.achat_completion(
    messages=[{"role": "user", "content": "Hello!"}],
    model="gpt-4o",
    provider="openai"
)
"""
STREAM = """
response = svc.chat_completion(
    messages=[{"role": "user", "content": "Tell me a story"}],
    model="llama3.2",
    stream=True
)

for chunk in response:
    print(chunk.choices[0].delta.content, end="", flush=True)
"""
TOOLS = """
from services.litellm_service import ToolDefinition

# Define tools
tools = [
    ToolDefinition(
        name="get_weather",
        description="Get current weather for a location",
        parameters={
            "type": "object",
            "properties": {
                "location": {"type": "string", "description": "City name"}
            },
            "required": ["location"]
        }
    )
]

# Tool handlers
def get_weather(location: str) -> str:
    return f"Weather in {location}: Sunny, 72°F"

# Chat with automatic tool execution
result = svc.chat_with_tools(
    messages=[{"role": "user", "content": "What's the weather in Tokyo?"}],
    tools=tools,
    tool_handlers={"get_weather": get_weather},
    model="gpt-4o",
    provider="openai"
)

print(result["response"])
"""
VISION = """
response = svc.vision_completion(
    prompt="Describe this image in detail",
    image_url="https://example.com/cat.jpg",
    model="gpt-4o",
    provider="openai"
)
"""
EMBEDDINGS = """
response = svc.create_embedding(
    input=["Hello world", "Goodbye world"],
    model="text-embedding-3-small",
    provider="openai"
)

embeddings = [item.embedding for item in response.data]
"""
FACTORY = """
from sources.provider_factory import ProviderFactory

# Create LiteLLM provider
provider = ProviderFactory.create(
    provider_name="litellm",
    model="openai/gpt-4o"  # Provider prefix in model name
)

# Use like any other provider
response = provider.chat_completion([
    {"role": "user", "content": "Hello!"}
])

# Or with Ollama
provider = ProviderFactory.create(
    provider_name="litellm",
    model="ollama/llama3.2"
)
"""
CONFIG = """
from services.litellm_service import LiteLLMConfig, LiteLLMService

config = LiteLLMConfig(
    default_provider="ollama",
    default_model="llama3.2",
    temperature=0.7,
    max_tokens=4096,
    ollama_base_url="http://localhost:11434",
    enable_caching=True,
    enable_cost_tracking=True
)

svc = LiteLLMService()
svc.config = config
svc._setup_litellm()
"""
UPDATE = """
svc.update_config(
    default_provider="openai",
    default_model="gpt-4o",
    temperature=0.5
)
"""
LANGCHAIN = """
from sources.provider_factory import ProviderFactory

provider = ProviderFactory.create("litellm", model="openai/gpt-4o")
llm = provider.get_langchain_llm()

# Use with LangChain
from langchain.chains import LLMChain
from langchain.prompts import PromptTemplate

prompt = PromptTemplate.from_template("Tell me about {topic}")
chain = LLMChain(llm=llm, prompt=prompt)
result = chain.run(topic="AI")
"""
ERRORS = """
from litellm.exceptions import (
    RateLimitError,
    AuthenticationError,
    InvalidRequestError,
    ServiceUnavailableError
)

try:
    response = svc.chat_completion(messages=messages)
except RateLimitError:
    # Handle rate limiting
    caught = "RateLimitError"
except AuthenticationError:
    # Handle auth errors (invalid API key)
    caught = "AuthenticationError"
except InvalidRequestError:
    # Handle bad requests
    caught = "InvalidRequestError"
except ServiceUnavailableError:
    # Handle provider outages
    caught = "ServiceUnavailableError"
"""
CALLBACKS = """
import litellm

# Custom callbacks
def log_success(response):
    print(f"Model: {response.model}, Tokens: {response.usage}")

litellm.success_callback = [log_success]
"""
