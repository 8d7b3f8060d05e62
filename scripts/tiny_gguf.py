# ruff: noqa: E501 - the chat template has lines of its own
"""Writes a tiny llama model with random weights as GGUF: `python tiny_gguf.py tiny.gguf`.

Needs gguf, tokenizers and numpy. 336 thousand parameters, a 2,048-token byte-level BPE, a ChatML template with Hermes
tools, 131,072 tokens of context. Its words are nonsense; what matters is what llama.cpp's server does around them: it
streams, stops, calls tools, obeys grammars.

Dimension 0 of the hidden state is a constant, large in every embedding and never written by a layer, so column 0 of
the output matrix is a bias per token. It keeps answers printable ASCII and makes the end token and the tool-call token
come up within some tens of tokens at temperature 1. The same Python and package versions give the same file.
"""

from __future__ import annotations

import json
import re
import sys
from typing import Any

import gguf
import numpy as np
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

SEED = 7
VOCAB = 2048
CONTEXT = 131_072
WIDTH = 64
FEED_FORWARD = 128
LAYERS = 2
HEADS = 4
KV_HEADS = 2
EPSILON = 1e-5

SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<tool_call>", "</tool_call>")
PAD, END, TOOL = 0, 2, 3
LIKELY = {END: 4.6, TOOL: 4.6}  # high enough to come up in a chat, low enough to leave room for words
NEVER = -14.0
CLOSES_JSON = 5.0  # else a string under a grammar goes on until max_tokens

TEMPLATE = r"""{%- macro open(role) %}{{- '<|im_start|>' + role + '\n' }}{%- endmacro %}
{%- if tools %}
    {{- open('system') }}
    {%- if messages[0].role == 'system' %}{{- messages[0].content + '\n\n' }}{%- endif %}
    {{- 'You may call these functions, given as JSON schemas:\n<tools>' }}
    {%- for tool in tools %}{{- '\n' }}{{- tool | tojson }}{%- endfor %}
    {{- '\n</tools>\n\nFor each function call, return a json object with function name and arguments within <tool_call></tool_call> XML tags:\n<tool_call>{"name": <function-name>, "arguments": <args-json-object>}</tool_call><|im_end|>\n' }}
{%- elif messages[0].role == 'system' %}
    {{- open('system') + messages[0].content + '<|im_end|>\n' }}
{%- endif %}
{%- for message in messages %}
    {%- if message.role == 'tool' %}
        {{- open('user') + '<tool_response>\n' + message.content + '\n</tool_response><|im_end|>\n' }}
    {%- elif message.role == 'assistant' and message.tool_calls %}
        {{- open('assistant') }}
        {%- if message.content %}{{- message.content }}{%- endif %}
        {%- for call in message.tool_calls %}
            {%- if call.function is defined %}{%- set call = call.function %}{%- endif %}
            {{- '<tool_call>{"name": "' + call.name + '", "arguments": ' }}{{- call.arguments | tojson }}{{- '}</tool_call>' }}
        {%- endfor %}
        {{- '<|im_end|>\n' }}
    {%- elif message.role != 'system' or not loop.first %}
        {{- open(message.role) + message.content + '<|im_end|>\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- open('assistant') }}{%- endif %}"""


def make_tokenizer() -> Tokenizer:
    """A byte-level BPE trained on the English that comes with every Python: the help texts of pydoc."""
    from pydoc_data.topics import topics

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB,
        special_tokens=list(SPECIAL),
        show_progress=False,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
    )
    # Words only: tokens with quotes in them are favoured by `bias`, and examples of code would make hundreds of those.
    prose = [" ".join(re.findall(r"[A-Za-z]+[.,;]?", topics[name])) for name in sorted(topics)]
    tokenizer.train_from_iterator(prose, trainer)
    if tokenizer.get_vocab_size() != VOCAB:
        raise SystemExit(f"the tokenizer got {tokenizer.get_vocab_size()} tokens instead of {VOCAB}")
    return tokenizer


def bias(tokenizer: Tokenizer, token: int) -> float:
    """How likely a token is, apart from the noise: words, then single characters, never what is not printable ASCII."""
    if token < len(SPECIAL):
        return LIKELY.get(token, NEVER)
    text = tokenizer.decode([token], skip_special_tokens=False)
    if not (text.isascii() and text.isprintable()):
        return NEVER
    if '"' in text or "}" in text:
        return CLOSES_JSON
    return 0.0 if len(text) > 2 else -1.0


def make_weights(tokenizer: Tokenizer) -> dict[str, np.ndarray]:
    """Tensors under llama.cpp's names, float32."""
    dice = np.random.default_rng(SEED)

    def noise(*shape: int, std: float = 0.15) -> np.ndarray:
        return (dice.standard_normal(shape) * std).astype(np.float32)

    embedding = noise(VOCAB, WIDTH, std=1.0)
    embedding[:, 0] = 8.0
    constant = 8.0 / np.sqrt((8.0**2 + WIDTH - 1) / WIDTH)  # dimension 0 behind the last norm
    output = noise(VOCAB, WIDTH, std=0.12)
    output[: len(SPECIAL)] = 0.0
    output[:, 0] = [bias(tokenizer, token) / constant for token in range(VOCAB)]
    ones = np.ones(WIDTH, np.float32)
    tensors = {"token_embd.weight": embedding, "output_norm.weight": ones, "output.weight": output}
    head = WIDTH // HEADS
    for layer in range(LAYERS):
        shapes = {
            "attn_q": (WIDTH, WIDTH),
            "attn_k": (KV_HEADS * head, WIDTH),
            "attn_v": (KV_HEADS * head, WIDTH),
            "attn_output": (WIDTH, WIDTH),
            "ffn_gate": (FEED_FORWARD, WIDTH),
            "ffn_up": (FEED_FORWARD, WIDTH),
            "ffn_down": (WIDTH, FEED_FORWARD),
        }
        block = {name: noise(*shape) for name, shape in shapes.items()}
        block["attn_output"][0] = block["ffn_down"][0] = 0.0
        block["attn_norm"] = block["ffn_norm"] = ones
        tensors |= {f"blk.{layer}.{name}.weight": tensor for name, tensor in block.items()}
    return tensors


def add_vocabulary(writer: Any, tokenizer: Tokenizer) -> None:
    merges = json.loads(tokenizer.to_str())["model"]["merges"]
    tokens = [token for token, _ in sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])]
    control, normal = gguf.TokenType.CONTROL, gguf.TokenType.NORMAL
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types([control if token < len(SPECIAL) else normal for token in range(VOCAB)])
    writer.add_token_merges([merge if isinstance(merge, str) else " ".join(merge) for merge in merges])
    writer.add_bos_token_id(PAD)
    writer.add_eos_token_id(END)
    writer.add_pad_token_id(PAD)
    writer.add_add_bos_token(False)
    writer.add_chat_template(TEMPLATE)


def main(path: str) -> None:
    tokenizer = make_tokenizer()
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("tiny-random-llama")
    writer.add_vocab_size(VOCAB)
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(FEED_FORWARD)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_layer_norm_rms_eps(EPSILON)
    writer.add_rope_dimension_count(WIDTH // HEADS)
    writer.add_rope_freq_base(10000.0)
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    add_vocabulary(writer, tokenizer)
    for name, tensor in make_weights(tokenizer).items():
        writer.add_tensor(name, np.ascontiguousarray(tensor))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    main(sys.argv[1])
