"""``lash chat``: a conversation in a terminal, or one question and its answer. All of it is the public API.

What is said is durable before anybody works on it, so leaving at any moment loses nothing: the session goes on by its
id. Ctrl-C during a turn cancels that turn and keeps the session; at the prompt it leaves.
"""

from __future__ import annotations

import logging
import os
import shlex
import sys
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from lash.cli import exits, output as out
from lash.cli.apps import chat_url, load_app, outlives_us, url_of
from lash.cli.chat_commands import converse
from lash.cli.chat_screen import AsideScreen, Screen, screen_for_people
from lash.cli.chat_talk import Talk
from lash.cli.chat_thread import LoopThread, nudged
from lash.cli.documents import Document
from lash.cli.spending import prices_of, usage_document
from lash.core.ids import mint
from lash.core.session import ID_PREFIX
from lash.core.turn import Finished, Stopped
from lash.errors import InvalidArguments, InvalidValue, SessionUnknown, UsageError
from lash.runtime.agent import Agent
from lash.runtime.runtime import Runtime
from lash.runtime.session import Session
from lash.stores.naming import without_password
from lash.wiring import Runtime as WiredRuntime, provider_of

PLAIN_AGENT: Final = "chat"
"""Name of the agent that ``--model`` makes: its sessions go on with whatever model is named next."""


class NoAgent(UsageError):
    code = "no_agent"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What was typed."""

    target: str | None
    model: str | None = None
    url: str | None = None
    session: str | None = None
    agent: str | None = None
    instructions: str | None = None
    text: str | None = None
    """``--print``; ``-`` reads stdin."""
    worker: bool = True
    as_json: bool = False


def chat(wanted: Wanted) -> int:
    """The exit code. Raises every typed error there is."""
    check(wanted)
    text = one_text(wanted)
    if text is None and wanted.as_json:
        raise InvalidArguments("--json is for one question: give --print TEXT, or the text on stdin.")
    app = app_of(wanted)
    log = logging.getLogger("lash.worker")
    if not log.hasHandlers() and log.level == logging.NOTSET:
        log.setLevel(logging.ERROR)  # who talks need not hear of workers that died; the target may have it otherwise
    plain = sys.stdout
    if text is not None:
        sys.stdout = sys.stderr  # what tools print must not get into the answer
    try:
        with nudged(), LoopThread() as loop:
            loop.call(app.open(with_worker=wanted.worker))
            try:
                talk = loop.call(begun(app, wanted, loop, text is not None))
                try:
                    if text is None:
                        return converse(talk, lambda session_id: resume_words(wanted, session_id))
                    return answer(talk, wanted, text, plain)
                finally:
                    talk.screen.close()
            finally:
                loop.call(app.close())
    finally:
        sys.stdout = plain


def check(wanted: Wanted) -> None:
    """Raises ``InvalidArguments`` for what does not go together."""
    if wanted.target is None and wanted.model is None:
        raise InvalidArguments(
            "With whom? Name an app that has an agent: lash chat module:app, or a model: lash chat --model "
            "openai:gpt-5-mini."
        )
    if wanted.target is not None and wanted.model is not None:
        raise InvalidArguments("Name a TARGET or a --model, not both: the agent of a TARGET has its own model.")
    if wanted.target is not None and wanted.instructions is not None:
        raise InvalidArguments("--instructions goes with --model; the agent of a TARGET has its own.")
    if wanted.model is not None and wanted.agent is not None:
        raise InvalidArguments("--agent chooses among those of a TARGET; --model makes one.")
    if wanted.model is not None and not wanted.worker:
        raise InvalidArguments("--no-worker goes with a TARGET: no worker elsewhere has the agent of --model.")


def one_text(wanted: Wanted) -> str | None:
    """The one question; None for a conversation. Raises ``InvalidValue`` where it is blank."""
    if wanted.text not in (None, "-"):
        found = wanted.text or ""
    elif wanted.text == "-" or not sys.stdin.isatty():
        found = sys.stdin.read()
    else:
        return None
    if not found.strip():
        raise InvalidValue("Nothing was asked: the text is blank. Give --print TEXT, or the text on stdin.")
    return found


# What it runs on ---------------------------------------------------------------------------------------------------


def app_of(wanted: Wanted) -> Runtime:
    """The app of a TARGET, or one for the model alone. What cannot be talked to is refused before a file is made."""
    if wanted.target is not None:
        app = load_app(wanted.target, wanted.url)
        if wanted.session is None or wanted.agent is not None:
            agent_of(app, wanted, None)
        return app
    agent = Agent(PLAIN_AGENT, model=wanted.model or "", instructions=wanted.instructions or "")
    provider_of(agent.model.partition(":")[0])
    return WiredRuntime(wanted.url or chat_url(), agents=[agent])


def agent_of(app: Runtime, wanted: Wanted, named: str | None) -> Agent[Any]:
    """The agent to talk to: the one asked for, that of the session, or the only one. Raises ``NoAgent``,
    ``AgentUnknown``."""
    if wanted.agent is not None or named is not None:
        return app.agents.named(wanted.agent or named or "")
    found = list(app.agents)
    if len(found) == 1:
        return found[0]
    if not found:
        raise NoAgent(f"{wanted.target} has no agent. Give it one: lash.Runtime(url, agents=[lash.Agent(...)]).")
    names = ", ".join(sorted(agent.name for agent in found))
    raise NoAgent(f"{wanted.target} has several agents: {names}. Say which: --agent NAME.")


async def begun(app: Runtime, wanted: Wanted, loop: LoopThread, alone: bool) -> Talk:
    """The session, if it is there; a new one is made when something is said. Raises ``SessionDeleted``,
    ``SessionConflict``."""
    if wanted.session is None:
        session_id = mint("s", app.now_ms(), os.urandom(8))
    else:
        session_id = wanted.session.removeprefix(ID_PREFIX)  # as other commands take it
    session: Session[Any] | None = None
    named: str | None = None
    with suppress(SessionUnknown):
        named = (await app.session(session_id)).agent
    agent = agent_of(app, wanted, named)
    if named is not None:
        session = await app.session(session_id, agent)
    prices = prices_of(app.agents)
    screen: Screen = AsideScreen(sys.stderr, prices, agent.model) if alone else screen_for_people(prices, agent.model)
    return Talk(app, agent, session_id, session, screen, loop, wanted.worker)


def resume_words(wanted: Wanted, session_id: str) -> str:
    """The command that goes on with a session, for people; a password is left out of it."""
    words = ["lash", "chat"]
    words += [wanted.target] if wanted.target is not None else ["--model", wanted.model or ""]
    if wanted.url and without_password(wanted.url) == wanted.url:
        words += ["--url", wanted.url]
    return shlex.join([*words, "--session", session_id])


# One question ------------------------------------------------------------------------------------------------------


def answer(talk: Talk, wanted: Wanted, text: str, stream: Any) -> int:
    """The answer on ``stream``, everything else on stderr."""
    talk.say(text)
    screen = talk.screen
    out.remark(f"Session {talk.session_id} in {url_of(talk.app)}" if outlives_us(talk.app) else "Nothing is kept.")
    outcome = screen.outcome
    finished = isinstance(outcome, Finished)
    if wanted.as_json:
        sys.stdout = stream
        out.print_json(answer_document(talk))
    elif isinstance(outcome, Finished):
        shown = outcome.text or ("" if outcome.value is None else out.show_value(out.plain(outcome.value), 10**9))
        print(shown, file=stream, flush=True)
    elif isinstance(outcome, Stopped) and outcome.text:  # what there was; the screen has said why there is no more
        print(outcome.text, file=stream, flush=True)
    if talk.interrupted:
        return exits.INTERRUPTED
    return exits.OK if finished else exits.FAILED


def answer_document(talk: Talk) -> Document:
    """What ``--print --json`` prints."""
    screen, outcome = talk.screen, talk.screen.outcome
    document: Document = {"session": talk.session_id, "turn": f"{talk.session_id}/{screen.turn}", "outcome": "stopped"}
    if isinstance(outcome, Finished):
        document |= {"outcome": "finished", "text": outcome.text, "output": out.plain(outcome.value)}
    elif isinstance(outcome, Stopped):
        document |= {"reason": outcome.reason, "code": outcome.code, "message": outcome.message, "text": outcome.text}
    document["model_calls"], document["tool_calls"] = screen.calls, screen.tool_calls
    document["usage"], document["cost_usd"] = usage_document(screen.usage), screen.cost_usd
    return document
