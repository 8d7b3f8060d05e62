"""/rerank: documents in the order in which they answer a query. Clients speak Cohere's form (v1 or v2), which LiteLLM's
proxy serves for everyone; upstreams speak one of five.

Sources: docs.cohere.com/reference/rerank; api.jina.ai/redoc (vLLM's and llama.cpp's servers answer in the same words);
docs.voyageai.com/reference/reranker-api; huggingface.github.io/text-embeddings-inference ("/rerank");
cloud.ibm.com/apidocs/watsonx-ai ("Generate rerank").
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
from msgspec import Raw, Struct
from msgspec.json import Decoder, encode

from penstock.core.dialects.openai_chat.errors import error_in_answer
from penstock.core.dialects.openai_chat.reading import (
    absent,
    flag,
    integer,
    items,
    mapping,
    needed,
    opens,
    present,
    text,
    texts,
    wrong,
)
from penstock.core.envelope import BAD_JSON
from penstock.core.errors import GatewayError
from penstock.core.ir import Loss, Usage
from penstock.core.providers.operations import Ranking, ranking_form

form_of = ranking_form
_OURS = frozenset(("model", "query", "documents", "top_n", "return_documents", "rank_fields", "stream"))
# Fields of the client's form that the others have no place for.
_COHERE_ONLY = ("max_tokens_per_doc", "max_chunks_per_doc", "priority")


def check(fields: Mapping[str, Raw]) -> None:
    """Check the query and the documents. Raises "bad_request" for what cannot be ranked."""
    text(needed(fields, "query", "", "a text"), "query")
    raw = needed(fields, "documents", "", "a list of texts")
    if not opens(raw, "["):
        raise wrong("documents", raw, "a list of texts")
    found = items(raw, "documents")
    if not found:
        raise GatewayError("bad_request", "'documents' is empty: send at least one text.", param="documents")
    for place, item in enumerate(found):
        if not opens(item, '"') and not opens(item, "{"):
            raise wrong(f"documents[{place}]", item, "a text or an object")
    top(fields)
    if (raw_flag := present(fields, "return_documents")) is not None:
        flag(raw_flag, "return_documents")


def top(fields: Mapping[str, Raw]) -> int | None:
    """Read ``top_n``, or Voyage's and Jina's older ``top_k``. Raises "bad_request" for less than 1."""
    for key in ("top_n", "top_k"):
        if (raw := present(fields, key)) is not None:
            count = integer(raw, key)
            if count < 1:
                raise GatewayError("bad_request", f"{key!r} is {count}; it must be 1 or more.", param=key)
            return count
    return None


def documents(fields: Mapping[str, Raw]) -> list[str]:
    """Return the documents as texts. Of an object: its ``rank_fields`` as YAML-like lines, as Cohere's v1 did, else its
    ``text``, else all of it."""
    named = present(fields, "rank_fields")
    keys = texts(named, "rank_fields") if named is not None else []
    out = []
    for place, item in enumerate(items(fields["documents"], "documents")):
        if opens(item, '"'):
            out.append(text(item, f"documents[{place}]"))
            continue
        inside = mapping(item, f"documents[{place}]")
        wanted = [key for key in keys if key in inside] if keys else (["text"] if "text" in inside else list(inside))
        if wanted == ["text"]:
            out.append(_word(inside["text"]))
        else:
            out.append("\n".join(f"{key}: {_word(inside[key])}" for key in wanted))
    return out


def _word(raw: Raw) -> str:
    if opens(raw, '"'):
        told: str = msgspec.json.decode(raw)
        return told
    return bytes(raw).decode()


def request(fields: Mapping[str, Raw], form: Ranking) -> tuple[dict[str, Raw], tuple[Loss, ...]]:
    """Make the body for an upstream but for its model, and tell what it has no place for. Documents are never asked
    back: they are here."""
    own = {key: raw for key, raw in fields.items() if key not in _OURS and key != "top_k" and not absent(raw)}
    losses = []
    if form != "cohere":
        for key in _COHERE_ONLY:
            if own.pop(key, None) is not None:
                losses.append(Loss(key, "a field of Cohere only"))
    count = top(fields)
    if form == "tei":
        out = {"query": fields["query"], "texts": Raw(encode(documents(fields)))}
        return {**out, **own}, tuple(losses)
    if form == "watsonx":
        inputs = [{"text": one} for one in documents(fields)]
        out = {"query": fields["query"], "inputs": Raw(encode(inputs)), **own}
        if count is not None:
            out.setdefault("parameters", Raw(encode({"return_options": {"top_n": count}})))
        return out, tuple(losses)
    whole = form == "jina" and present(fields, "rank_fields") is None  # Jina ranks images, too: objects pass
    out = {"query": fields["query"]}
    out["documents"] = fields["documents"] if whole else Raw(encode(documents(fields)))
    if count is not None:
        out["top_k" if form == "voyage" else "top_n"] = Raw(encode(count))
    return {**out, **own}, tuple(losses)


def pieces(body: Mapping[str, Raw], limit: int) -> list[tuple[int, dict[str, Raw]]]:
    """Split a request of Hugging Face's form into several of at most ``limit`` texts, each with the place of its first
    one. A text's score does not depend on the others."""
    rows = items(body["texts"], "texts")
    if len(rows) <= limit:
        return [(0, dict(body))]
    return [(at, {**body, "texts": Raw(encode(rows[at : at + limit]))}) for at in range(0, len(rows), limit)]


class _Result(Struct, gc=False):
    index: int
    relevance_score: float | None = None
    score: float | None = None


class _Usage(Struct, gc=False):
    prompt_tokens: int | None = None
    total_tokens: int | None = None


class _Meta(Struct, gc=False):
    billed_units: dict[str, float] | None = None
    tokens: dict[str, float] | None = None


class _Answer(Struct, gc=False):
    results: list[_Result] | None = None
    data: list[_Result] | None = None
    usage: _Usage | None = None
    meta: _Meta | None = None
    id: str | None = None
    input_token_count: int | None = None


_TOP = Decoder(dict[str, Raw]).decode
_READ = Decoder(_Answer, strict=False).decode
_ROWS = Decoder(list[_Result], strict=False).decode


class Ranked(Struct, frozen=True):
    """An upstream's answer: (index, score) by falling score, and what it bills."""

    rows: tuple[tuple[int, float], ...]
    id: str = ""
    meta: Raw | None = None  # Cohere's own
    tokens: int | None = None
    searches: int | None = None


def read(body: bytes) -> Ranked:
    """Read an answer in any of the five forms. Raises "broken_answer", and the error of a 200 that carries one."""
    try:
        if body.lstrip()[:1] == b"[":
            return Ranked(_sorted(_ROWS(body)))
        fields = _TOP(body)
        if "results" not in fields and "data" not in fields and (error := present(fields, "error")) is not None:
            raise error_in_answer(error)
        found = _READ(body)
    except BAD_JSON as error:
        raise GatewayError("broken_answer", f"The upstream's answer is no ranking: {error}.") from None
    rows = found.results if found.results is not None else found.data
    if rows is None:
        raise GatewayError("broken_answer", "The upstream's answer is no ranking: it has no 'results'.")
    units = (found.meta.billed_units if found.meta else None) or {}
    tokens = found.usage.total_tokens or found.usage.prompt_tokens if found.usage else None
    if tokens is None and (told := (found.meta.tokens if found.meta else None) or {}):
        tokens = int(told.get("input_tokens", 0))
    if tokens is None:
        tokens = found.input_token_count
    searches = units.get("search_units")
    return Ranked(
        _sorted(rows), found.id or "", fields.get("meta"), tokens, None if searches is None else int(searches)
    )


def _sorted(rows: list[_Result]) -> tuple[tuple[int, float], ...]:
    told = []
    for row in rows:
        score = row.relevance_score if row.relevance_score is not None else row.score
        if score is None:
            raise GatewayError("broken_answer", "The upstream's answer is no ranking: a result has no score.")
        told.append((row.index, score))
    return tuple(sorted(told, key=lambda pair: -pair[1]))


def joined(parts: Sequence[tuple[int, Ranked]]) -> Ranked:
    """Join the answers to ``pieces``."""
    if len(parts) == 1:
        return parts[0][1]
    rows = [(at + index, score) for at, part in parts for index, score in part.rows]
    return Ranked(tuple(sorted(rows, key=lambda pair: -pair[1])))


def usage_of(ranked: Ranked) -> Usage | None:
    """Return what was counted; None where the upstream counts searches or nothing."""
    return None if ranked.tokens is None else Usage(fresh=ranked.tokens)


def answer(fields: Mapping[str, Raw], ranked: Ranked, model: str, mint: Callable[[str], str]) -> bytes:
    """Make the client's answer: Cohere's, and beside it the ``model`` and ``usage`` that Jina's clients read. The
    documents are in it when they were asked for."""
    count = top(fields)
    given = items(fields["documents"], "documents")
    asked = present(fields, "return_documents")
    shown = asked is not None and flag(asked, "return_documents")
    results: list[dict[str, Any]] = []
    for index, score in ranked.rows[:count]:
        if not 0 <= index < len(given):
            text_ = f"The upstream ranked a document {index}; {len(given)} were sent."
            raise GatewayError("broken_answer", text_)
        row: dict[str, Any] = {"index": index, "relevance_score": score}
        if shown:
            row["document"] = {"text": given[index]} if opens(given[index], '"') else given[index]
        results.append(row)
    out: dict[str, Any] = {"id": ranked.id or mint("rerank-"), "model": model, "results": results}
    if ranked.meta is not None:
        out["meta"] = ranked.meta
    else:
        billed = {} if ranked.tokens is None else {"billed_units": {"total_tokens": ranked.tokens}}
        out["meta"] = billed | ({} if ranked.tokens is None else {"tokens": {"input_tokens": ranked.tokens}})
    if ranked.tokens is not None:
        out["usage"] = {"prompt_tokens": ranked.tokens, "total_tokens": ranked.tokens}
    return encode(out)
