"""Files and batches as OpenAI's clients know them (platform.openai.com/docs/api-reference/batch)."""

from __future__ import annotations

from typing import Any

import msgspec

from penstock.core.batches.kept import COMPLETED, FAILED, KeptBatch, KeptFile


def file_object(file: KeptFile) -> dict[str, Any]:
    """Describe a file."""
    if file.shown:
        return msgspec.json.decode(file.shown, type=dict[str, Any])
    return {
        "id": file.id,
        "object": "file",
        "bytes": file.bytes,
        "created_at": int(file.created_at),
        "expires_at": int(file.expires_at) or None,
        "filename": file.filename,
        "purpose": file.purpose,
        "status": "processed",
        "status_details": None,
    }


def batch_object(batch: KeptBatch) -> dict[str, Any]:
    """Describe a batch. Files of results are named once there is something in them, and nothing more comes."""
    if batch.shown:
        return msgspec.json.decode(batch.shown, type=dict[str, Any])
    over = batch.finished and batch.status != FAILED
    used = batch.used
    return {
        "id": batch.id,
        "object": "batch",
        "endpoint": batch.endpoint,
        "errors": _faults(batch),
        "input_file_id": batch.input,
        "completion_window": "24h",
        "status": batch.status,
        "output_file_id": batch.output if over and batch.completed else None,
        "error_file_id": batch.errors if over and batch.failed else None,
        "created_at": int(batch.created_at),
        "in_progress_at": int(batch.begun_at) or None,
        "expires_at": int(batch.expires_at),
        "finalizing_at": int(batch.finalizing_at) or None,
        **{f"{status}_at": _ended(batch, status) for status in (COMPLETED, FAILED, "expired")},
        "cancelling_at": int(batch.cancelling_at) or None,
        "cancelled_at": _ended(batch, "cancelled"),
        "request_counts": {"total": batch.total, "completed": batch.completed, "failed": batch.failed},
        "usage": {
            "input_tokens": used.input,
            "input_tokens_details": {"cached_tokens": used.cached},
            "output_tokens": used.output,
            "output_tokens_details": {"reasoning_tokens": used.reasoning},
            "total_tokens": used.input + used.output,
        },
        "metadata": dict(batch.metadata) or None,
    }


def _ended(batch: KeptBatch, status: str) -> int | None:
    return int(batch.ended_at) if batch.status == status else None


def _faults(batch: KeptBatch) -> dict[str, Any] | None:
    if not batch.faults:
        return None
    return {"object": "list", "data": [msgspec.to_builtins(fault) for fault in batch.faults]}


def list_object(rows: list[dict[str, Any]], more: bool) -> dict[str, Any]:
    """Describe a part of a list."""
    ids = [row["id"] for row in rows]
    first, last = (ids[0], ids[-1]) if ids else (None, None)
    return {"object": "list", "data": rows, "first_id": first, "last_id": last, "has_more": more}
