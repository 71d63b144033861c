"""The prompt of a chat: a line is said, or it is a command that begins with a slash and is never sent to the model.

A command that cannot be done is told in one line, and the conversation goes on.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Final, NamedTuple

from lash.cli import exits, output as out
from lash.cli.apps import outlives_us, url_of
from lash.cli.chat_talk import Talk
from lash.cli.sessions import node_cells
from lash.cli.spending import usage_lines
from lash.core.ids import mint
from lash.core.session import Node, node_number
from lash.errors import LashError, NodeUnknown, SessionDeleted, UsageError
from lash.limits import PAGE_ROWS_MAX
from lash.runtime.hooks import tools_of
from lash.runtime.session import Session

PROMPT: Final = "> "
MORE: Final = "… "
NODES_LISTED: Final = 30
DESCRIPTION_CHARS: Final = 80


class BadCommand(UsageError):
    code = "bad_command"


class Command(NamedTuple):
    usage: str
    help: str
    do: Callable[[Talk, list[str]], None]


def converse(talk: Talk, resume: Callable[[str], str]) -> int:
    """Until ``/quit``, the end of input, or Ctrl-C at the prompt. ``resume``: the command that goes on with a session
    of this id. Raises ``SessionDeleted``."""
    begin(talk)
    try:
        code = talk_on(talk)
    except KeyboardInterrupt:  # pressed twice in a turn, or while a command was at work
        code = exits.INTERRUPTED
    talk.screen.close()
    if talk.session is not None and outlives_us(talk.app):
        out.remark(f"Go on with: {resume(talk.session_id)}")
    return code


def begin(talk: Talk) -> None:
    """Say where this is."""
    where = url_of(talk.app) if outlives_us(talk.app) else "this program's own memory: nothing is kept"
    known = "" if talk.session is not None else " (new)"
    out.remark(f"Session {talk.session_id}{known} with {talk.agent.name} ({talk.agent.model}), in {where}")
    out.remark("Ctrl-C cancels a turn. /help lists commands; /quit or Ctrl-D leaves.")


def talk_on(talk: Talk) -> int:
    if talk.session is not None:
        talk.resume()
    else:
        talk.told = 0
    read = reader()
    while (text := read()) is not None:
        try:
            if text.startswith("/") and not text.startswith("//"):
                if do_command(talk, text):
                    return exits.OK
            elif text.strip():
                talk.say(text[1:] if text.startswith("//") else text)
        except SessionDeleted:
            raise  # nothing can be said here any more
        except LashError as error:
            talk.screen.line(out.clean(f"lash: {error.message} [{error.code}]"), "red")
    return exits.OK


def reader() -> Callable[[], str | None]:
    """Reads one input, with the line editing of the terminal; None at its end, and at Ctrl-C. A line that ends in a
    backslash goes on in the next, where Ctrl-C takes back what was typed."""
    if sys.stdin.isatty():
        import contextlib

        with contextlib.suppress(ImportError):  # a Python without it reads lines all the same
            import readline

            readline.set_auto_history(True)

    def read() -> str | None:
        lines: list[str] = []
        while True:
            try:
                line = input(MORE if lines else PROMPT)
            except (EOFError, KeyboardInterrupt) as error:
                print(flush=True)
                if isinstance(error, EOFError) or not lines:
                    return None
                lines = []
            else:
                lines.append(line.removesuffix("\\"))
                if not line.endswith("\\"):
                    return "\n".join(lines)

    return read


# Commands ----------------------------------------------------------------------------------------------------------


def do_command(talk: Talk, text: str) -> bool:
    """True for ``/quit``. Raises ``BadCommand``, and what the command raises."""
    name, *words = text.split()
    if name in ("/quit", "/exit"):
        return True
    command = COMMANDS.get(name)
    if command is None:
        raise BadCommand(f"There is no command {name}. /help lists them; to say it, begin with two slashes.")
    if words and command.usage == name:
        raise BadCommand(f"{name} takes nothing behind it, not {' '.join(words)!r}.")
    command.do(talk, words)
    return False


def session_of(talk: Talk) -> Session[object]:
    if talk.session is None:
        raise BadCommand("Nothing was said yet.")
    return talk.session


def one_word(words: list[str], usage: str) -> str | None:
    if len(words) > 1:
        raise BadCommand(f"That is more than one word: {usage}")
    return words[0] if words else None


def node_meant(talk: Talk, text: str) -> str:
    """A node's id, of which the number is enough. Raises ``BadCommand`` for what is neither."""
    node = f"{talk.session_id}#{text.removeprefix('#')}" if text.removeprefix("#").isdecimal() else text
    try:
        node_number(node)
    except NodeUnknown:
        raise BadCommand(f"{text!r} is no node. /nodes lists them with their ids; the number is enough.") from None
    return node


def help_(talk: Talk, words: list[str]) -> None:
    del words
    width = max(len(command.usage) for command in COMMANDS.values())
    for command in COMMANDS.values():
        talk.screen.line(f"{command.usage.ljust(width)}  {command.help}")
    talk.screen.line("A line that ends in \\ goes on in the next; to say a line that begins with /, type two.", "dim")


def quit_(talk: Talk, words: list[str]) -> None:
    """Done by whoever reads the commands."""


def fork(talk: Talk, words: list[str]) -> None:
    node = one_word(words, COMMANDS["/fork"].usage)
    new_id = mint("s", talk.app.now_ms(), os.urandom(8))
    begun = session_of(talk).fork(None if node is None else node_meant(talk, node), new_id)
    moved(talk, talk.loop.call(begun))


def rewind(talk: Talk, words: list[str]) -> None:
    node = one_word(words, COMMANDS["/rewind"].usage)
    if node is None:
        raise BadCommand("To which node? /rewind NODE; /nodes lists them.")
    moved(talk, talk.loop.call(session_of(talk).rewind(node_meant(talk, node))))
    talk.show_newest()


def moved(talk: Talk, session: Session[object]) -> None:
    before = talk.session_id
    talk.move(session)
    talk.screen.line(f"[now in session {session.id}; {before} stays as it is]", "yellow")


def usage(talk: Talk, words: list[str]) -> None:
    del words
    for line in usage_lines(talk.loop.call(session_of(talk).usage()), talk.screen.prices):
        talk.screen.line(line)


def tools(talk: Talk, words: list[str]) -> None:
    del words
    found = tools_of(talk.agent)
    if not found:
        talk.screen.line("This agent has no tools.")
    for tool in found:
        about = " ".join(str(tool.spec.description).split())[:DESCRIPTION_CHARS]
        talk.screen.line(f"{tool.name} ({tool.effect})  {about}")


def nodes(talk: Talk, words: list[str]) -> None:
    text = one_word(words, COMMANDS["/nodes"].usage) or str(NODES_LISTED)
    if not text.isdecimal() or not 1 <= int(text) <= PAGE_ROWS_MAX:
        raise BadCommand(f"How many? /nodes [1 to {PAGE_ROWS_MAX}], not {text}.")
    found: list[Node] = talk.loop.call(session_of(talk).nodes(limit=int(text)))
    cells = [(node.id, *node_cells(node)) for node in found]
    widths = [max((len(row[column]) for row in cells), default=0) for column in range(2)]
    for node_id, what, begins in cells:
        talk.screen.line(f"{node_id.ljust(widths[0])}  {what.ljust(widths[1])}  {begins}")


def compact(talk: Talk, words: list[str]) -> None:
    talk.watch(talk.loop.call(session_of(talk).compact(" ".join(words))))


COMMANDS: Final = {
    "/fork": Command("/fork [NODE]", "go on in a new session that begins as this one, up to NODE", fork),
    "/rewind": Command("/rewind NODE", "go back to NODE, in a new session; this one stays", rewind),
    "/nodes": Command("/nodes [N]", "the newest nodes of this session, with their ids", nodes),
    "/usage": Command("/usage", "what this session has used, by model", usage),
    "/tools": Command("/tools", "what the agent may call", tools),
    "/compact": Command("/compact [FOCUS]", "have the model sum up, and go on from the summary", compact),
    "/help": Command("/help", "this list", help_),
    "/quit": Command("/quit", "leave; the session is kept", quit_),
}
