"""What each vendor refuses of a history: a call without its result, a result without its call, a reasoning item alone.

The rule of this file: it reads request bodies as the vendors' documentation describes them, and nothing of lash.
"""

from __future__ import annotations

from typing import Any

Body = dict[str, Any]


def fault_of_history(path: str, body: Body) -> str | None:
    """Why a vendor would refuse this history, or None."""
    if path.endswith("/responses"):
        return responses(body)
    if path.endswith("/chat/completions"):
        return chat(body)
    if path.endswith("/v1/messages"):
        return messages(body)
    if "streamGenerateContent" in path:
        return contents(body)
    return f"nobody listens at {path}"


def responses(body: Body) -> str | None:
    open_calls: list[str] = []
    for place, item in enumerate(body["input"]):
        kind = item.get("type", "message")
        if kind == "function_call":
            open_calls.append(item["call_id"])
        elif kind == "function_call_output":
            if item["call_id"] not in open_calls:
                return f"No tool call found for function call output with call_id {item['call_id']}."
            open_calls.remove(item["call_id"])
        elif open_calls and kind == "message" and item["role"] != "assistant":
            break
        if kind == "reasoning":
            after = body["input"][place + 1 : place + 2]
            follows = after and (
                after[0].get("role") == "assistant" or after[0]["type"] in ("reasoning", "function_call")
            )
            if not follows or "encrypted_content" not in item:
                return "Item of type reasoning was provided without its required following item."
    return f"No tool output found for function call {open_calls[0]}." if open_calls else None


def chat(body: Body) -> str | None:
    open_calls: list[str] = []
    for place, message in enumerate(body["messages"]):
        if message["role"] == "tool":
            if not open_calls or message["tool_call_id"] != open_calls.pop(0):
                return "messages with role tool must follow, in order, the calls they answer"
            continue
        if open_calls:
            return f"tool_call_ids without response messages: {open_calls}"
        if message["role"] == "system" and place:
            return "a system message must be the first"
        if message["role"] == "assistant":
            if message["content"] is None and not message.get("tool_calls"):
                return "an assistant message needs content or calls"
            open_calls = [call["id"] for call in message.get("tool_calls", [])]
    return f"tool_call_ids without response messages: {open_calls}" if open_calls else None


def messages(body: Body) -> str | None:
    expected = "user"
    open_calls: list[str] = []
    for message in body["messages"]:
        if message["role"] != expected:
            return f"roles must alternate; expected {expected}"
        expected = "assistant" if expected == "user" else "user"
        blocks = message["content"]
        results = [block["tool_use_id"] for block in blocks if block["type"] == "tool_result"]
        if results != open_calls:
            return f"tool_use ids {open_calls} need tool_result blocks right after, found {results}"
        if [block["type"] for block in blocks[: len(results)]] != ["tool_result"] * len(results):
            return "tool_result blocks must come first"
        if any(block["type"] == "text" and not block["text"] for block in blocks):
            return "text content blocks must be non-empty"
        if any(block["type"] == "thinking" and not block.get("signature") for block in blocks):
            return "thinking blocks need their signature"
        open_calls = [block["id"] for block in blocks if block["type"] == "tool_use"]
    return f"tool_use ids without tool_result: {open_calls}" if open_calls else None


def contents(body: Body) -> str | None:
    waiting: list[str] = []
    for content in body["contents"]:
        answered = [part["functionResponse"]["name"] for part in content["parts"] if "functionResponse" in part]
        called = [part["functionCall"]["name"] for part in content["parts"] if "functionCall" in part]
        if answered != waiting:
            return f"function responses {answered} must equal the function calls {waiting} of the turn before"
        if (answered and content["role"] != "user") or (called and content["role"] != "model"):
            return "function calls are the model's, responses the user's"
        waiting = called
    return f"function calls without responses: {waiting}" if waiting else None
