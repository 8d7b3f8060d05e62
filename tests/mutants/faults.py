"""The faults: what was shipped, where it would be in this tree, and which tests must fail.

``old`` stands exactly once in ``file`` (``test_faults.py`` checks it); ``tests`` are pytest ids under ``tests``.
"""

from __future__ import annotations

from typing import NamedTuple


class Fault(NamedTuple):
    name: str
    incident: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]


_D = "penstock/core/dialects"
_STREAMS = "laws/test_pairs_laws.py::test_streams_reach_every_client"
_ERRORS = "laws/test_pairs_laws.py::test_an_error_at_any_point_is_told_and_never_a_success"
_TURNS = "laws/test_pairs_laws.py::test_blocks_that_come_in_turns_never_mix"
_PAIRS = "laws/test_pairs_requests.py::test_every_pair_loses_exactly_what_it_says"
_MESSAGES = "core/dialects/test_anthropic_streams.py::"

FAULTS = (
    Fault(
        "stop reason, read",
        "stop reason forced to `stop` in streams",
        f"{_D}/anthropic/stream_in.py",
        "out.append(Stop(wire.finish_in(self._reason, self._tools, self._next > 0), self._sequence))",
        'out.append(Stop("stop", self._sequence))',
        (_MESSAGES + "test_the_stop_reason_is_never_forced_to_stop",),
    ),
    Fault(
        "stop reason, written",
        "stop reason forced to `stop` in streams",
        f"{_D}/openai_chat/stream_out.py",
        "finish = _JSON(finish_out(event.reason, self._lines[event.choice].refused, self._legacy))",
        'finish = _JSON("stop")',
        (_STREAMS,),
    ),
    Fault(
        "tool index, read",
        "tool arguments sent to the wrong tool index",
        f"{_D}/openai_chat/calls.py",
        "            slot = self._by_index.get(index)\n",
        "            slot = last if last and not name else self._by_index.get(index)\n",
        ("laws/test_chat_laws.py::test_arguments_reach_their_own_call_however_they_are_streamed",),
    ),
    Fault(
        "tool index, written",
        "tool arguments sent to the wrong tool index",
        f"{_D}/openai_chat/stream_out.py",
        '"%s":{"%s":\' % (place, kind.encode()',
        '"%s":{"%s":\' % (0, kind.encode()',
        (_STREAMS,),
    ),
    Fault(
        "argument deltas",
        "90% of tool-argument deltas dropped",
        f"{_D}/anthropic/stream_in.py",
        "        part.told = True\n        return (Delta(part.index, text),)",
        "        first, part.told = not part.told, True\n        return (Delta(part.index, text),) if first else ()",
        (_MESSAGES + "test_every_argument_delta_arrives", _STREAMS),
    ),
    Fault(
        "closing event, Responses",
        "arguments lost when only the closing event carries them",
        f"{_D}/openai_responses/stream_in.py",
        "        part.told = True\n        return (Delta(part.index, args),)",
        "        part.told = True\n        return ()",
        ("core/dialects/test_responses_streams.py::test_arguments_that_come_at_once",),
    ),
    Fault(
        "closing event, Chat",
        "arguments lost when only the closing event carries them",
        f"{_D}/openai_chat/stream_in.py",
        'self._fill(line, known, call.function.arguments or "", out)',
        "pass",
        ("core/dialects/test_chat_stream.py::test_arguments_only_in_the_closing_message_are_not_lost",),
    ),
    Fault(
        "thinking in a text, read",
        "thinking delta inside a text block",
        f"{_D}/anthropic/stream_in.py",
        "if part is None or part.kind != wanted:",
        "if part is None:",
        (_MESSAGES + "test_a_thinking_delta_inside_a_text_block_opens_its_own_block",),
    ),
    Fault(
        "thinking in a text, written",
        "thinking delta inside a text block",
        f"{_D}/anthropic/stream_out.py",
        "if index == self._current:",
        "if self._current >= 0:",
        (_TURNS,),
    ),
    Fault(
        "second start, read",
        "`message_start` twice",
        f"{_D}/anthropic/stream_in.py",
        "        if self._started:\n            return ()\n        self._started = True\n        usage =",
        "        self._started = True\n        usage =",
        (_MESSAGES + "test_message_start_twice_starts_once",),
    ),
    Fault(
        "second start, written",
        "`message_start` twice",
        f"{_D}/anthropic/stream_out.py",
        '        if self._started:\n            return b""\n        self._started = True',
        "        self._started = True",
        (_STREAMS,),
    ),
    Fault(
        "signature alone, read",
        "a signature-only thinking block dropped",
        f"{_D}/anthropic/stream_in.py",
        "return () if seal is None else (Delta(index, seal=seal),)",
        "return ()",
        (_MESSAGES + "test_a_signature_only_thinking_block_is_kept", _STREAMS),
    ),
    Fault(
        "signature alone, Responses",
        "a signature-only thinking block dropped",
        f"{_D}/openai_responses/stream_out.py",
        '        out = b"" if self._lead else self._begin_thought(block)\n        assert self._item',
        '        if not self._lead:\n            return b""\n        out = b""\n        assert self._item',
        (_STREAMS,),
    ),
    Fault(
        "mark on a thought",
        "`cache_control` put on a thinking block",
        f"{_D}/anthropic/blocks_out.py",
        "            return wire.ThinkingBlock(block.text, seal.data)",
        '            mark = b\'{"cache_control":{"type":"ephemeral"}}\'\n'
        '            return merge(wire.ThinkingBlock(block.text, seal.data), Opaque(wire.NAME, "", mark))',
        ("core/dialects/test_anthropic_requests.py::test_a_cache_mark_is_never_put_on_a_thinking_block",),
    ),
    Fault(
        "format, Chat surface",
        "`response_format` silently ignored on one surface",
        f"{_D}/openai_chat/request_in.py",
        '    if kind in ("json_object", "text"):\n        out["output"] = OutputFormat(kind)\n',
        '    if kind in ("json_object", "text"):\n',
        ("laws/test_chat_laws.py::test_a_request_loses_what_is_reported_and_nothing_else",),
    ),
    Fault(
        "format, Responses surface",
        "`response_format` silently ignored on one surface",
        f"{_D}/openai_responses/request_in.py",
        "        _format(wanted, out, extra)",
        "        pass",
        ("laws/test_responses_laws.py::test_a_request_loses_exactly_what_it_says",),
    ),
    Fault(
        "format, Messages surface",
        "`response_format` silently ignored on one surface",
        f"{_D}/anthropic/request_in.py",
        'output = _format(wanted, "output_config.format", extra)',
        "output = None",
        ("core/dialects/test_anthropic_requests.py::test_structured_output_in_all_its_spellings",),
    ),
    Fault(
        "U+2028",
        "SSE cut at U+2028",
        "penstock/core/sse.py",
        r'_END = re.compile(rb"\r\n|\n|\r")',
        r'_END = re.compile(rb"\r\n|\n|\r|\xe2\x80\xa8")',
        ("laws/test_sse_laws.py::test_what_was_encoded_comes_back",),
    ),
    Fault(
        "CR, then LF",
        "CRLF split across chunks",
        "penstock/core/sse.py",
        "                self._swallow = True",
        "                self._swallow = False",
        ("laws/test_sse_laws.py::test_any_cut_of_any_bytes_reads_as_the_standard_says",),
    ),
    Fault(
        "no role",
        "first chunk without a role",
        f"{_D}/openai_chat/stream_out.py",
        'return self._chunk(choice, b\'{"role":"assistant","content":""}\')',
        'return b""',
        (_STREAMS,),
    ),
    Fault(
        "cached tokens, Chat",
        "usage counted twice when cached",
        f"{_D}/openai_chat/usage.py",
        "fresh=max(0, total_in - read - write),",
        "fresh=total_in,",
        ("core/dialects/test_chat_answer.py::test_usage_is_disjoint", _STREAMS),
    ),
    Fault(
        "cached tokens, Messages",
        "usage counted twice when cached",
        f"{_D}/anthropic/usage.py",
        '        "input_tokens": usage.fresh,',
        '        "input_tokens": usage.input,',
        (_STREAMS,),
    ),
    Fault(
        "done after an error",
        "`[DONE]` after a broken stream",
        f"{_D}/openai_chat/stream_out.py",
        'return sse.encode(_JSON({"error": error_fields(error)}))',
        'return sse.encode(_JSON({"error": error_fields(error)})) + sse.DONE',
        (_ERRORS,),
    ),
    # Of the same kinds, our own.
    Fault(
        "broken is complete",
        "a stream that broke off passed as an answer",
        f"{_D}/anthropic/stream_in.py",
        "        if self._reason is None:\n            raise GatewayError",
        "        if not self._started:\n            raise GatewayError",
        ("laws/test_pairs_laws.py::test_a_stream_that_breaks_off_is_never_an_answer",),
    ),
    Fault(
        "half a call is done",
        "an error in mid-call closed the call with half its arguments",
        f"{_D}/openai_responses/stream_out.py",
        'out = b"" if self._current >= 0 else self._end_item("incomplete")',
        'out = self._end_item("incomplete")',
        (_ERRORS,),
    ),
    Fault(
        "foreign seal, Messages",
        "a seal replayed to a foreign family",
        f"{_D}/anthropic/blocks_out.py",
        "if seal is not None and seal.family == self.family:",
        "if seal is not None:",
        ("laws/test_anthropic_laws.py::test_a_rendered_request_keeps_the_apis_rules",),
    ),
    Fault(
        "foreign seal, Responses",
        "a seal replayed to a foreign family",
        f"{_D}/openai_responses/items_out.py",
        "            if seal.family == (self._wire.family or FAMILY):\n                return True",
        "            if seal.family:\n                return True",
        (_PAIRS,),
    ),
    Fault(
        "model's name",
        "the upstream's name of the model in a chunk",
        f"{_D}/openai_chat/stream_out.py",
        '            "model": view.model,',
        '            "model": event.model or view.model,',
        (_STREAMS,),
    ),
    Fault(
        "silent loss, tools",
        "a loss that is not reported",
        f"{_D}/openai_chat/request_out.py",
        '        losses.append(Loss(f"{path}.opaque", f"fields that only {opaque.dialect} knows"))',
        "        pass",
        (_PAIRS,),
    ),
    Fault(
        "silent loss, fields",
        "a loss that is not reported",
        f"{_D}/lacking.py",
        '            writer.lose(f"extra.{opaque.kind}", f"a field of {opaque.dialect} only")\n',
        "",
        (_PAIRS,),
    ),
    Fault(
        "false loss",
        "a loss reported of what was carried",
        f"{_D}/openai_responses/request_out.py",
        '        body["max_output_tokens"] = limit',
        '        losses.append(Loss("seed", "")) if request.seed is None else None\n'
        '        body["max_output_tokens"] = limit\n'
        '        losses.append(Loss("temperature", "")) if request.temperature else None\n'
        '        body.pop("temperature", None)',
        (_PAIRS,),
    ),
    Fault(
        "results in place",
        "a tool result that does not follow its call (the API answers 400)",
        f"{_D}/turns.py",
        "return _Results(turns, writer, policy, names).place() if calls else turns",
        "return turns",
        ("laws/test_anthropic_laws.py::test_a_rendered_request_keeps_the_apis_rules",),
    ),
    Fault(
        "sequence numbers",
        "two events of one number",
        f"{_D}/openai_responses/stream_out.py",
        '        self._sequence += 1\n        return b"event: "',
        '        return b"event: "',
        (_STREAMS,),
    ),
    Fault(
        "refusal, then a part",
        "a body that no validation refused was a 500",
        f"{_D}/openai_chat/messages_out.py",
        "isinstance(last := parts[-1], dict) and last",
        "(last := parts[-1]) and last",
        ("core/dialects/test_chat_messages.py::test_a_refusal_before_a_part_of_unknown_type",),
    ),
    Fault(
        "a close behind an error in band",
        "the client's next request was reset",
        "penstock/server/doors/quick.py",
        "    def finish(self) -> None:\n        if self.chunked:\n",
        "    def finish(self) -> None:\n        self.keep_alive = False\n        if self.chunked:\n",
        ("server/test_errors.py::test_an_error_in_band_costs_the_connections_next_request_nothing",),
    ),
    Fault(
        "an error behind the end",
        "an error after [DONE], for an upstream that died behind its last event",
        "penstock/runtime/lanes.py",
        "            if not translator.done:\n                raise\n",
        "            raise\n",
        ("server/test_errors.py::test_a_stream_that_was_whole_is_whole_however_its_connection_ends",),
    ),
    Fault(
        "a price for silence",
        "a translated stream without an event was charged with its prompt",
        "penstock/runtime/cross.py",
        "        if self._held is None and not self.started:\n            return None\n",
        "",
        ("runtime/test_cross.py::test_a_try_that_said_nothing_costs_nothing",),
    ),
    Fault(
        "a look-up each",
        "a burst to a dead name took all of the resolver's threads",
        "penstock/runtime/http/names.py",
        "        running = self._running.get(key)\n        if running is None:\n",
        "        if True:\n",
        ("runtime/http/test_transport_lookups.py::test_a_name_is_looked_up_once_for_all_who_ask_at_the_same_time",),
    ),
)
