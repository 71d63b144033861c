"""How a turn looks while it happens: each event of its stream is shown once, in the order of the stream.

What a ``Reset`` takes back is taken back visibly: on a terminal it goes where it can still be erased, and everywhere a
line says so. Thinking is dimmed, calls of tools are one line each, what failed is red. Three screens: a terminal, plain
lines for a pipe or a dumb terminal, and one that leaves the text out, for whoever wants the answer alone.
"""

from __future__ import annotations

import time
from typing import IO, TYPE_CHECKING, Final

from lash.cli import output as out, transcript as said
from lash.cli.sessions import MARKS, STYLES
from lash.cli.spending import Prices, cost_words, tokens_words
from lash.core.model import NO_USAGE, Usage
from lash.core.observe import (
    Committed,
    Gap,
    ModelFinished,
    PluginEvent,
    ReasoningDelta,
    Reset,
    Retrying,
    TextDelta,
    ToolFinished,
    ToolStarted,
    TurnEvent,
)
from lash.core.schedule import show_ms
from lash.core.turn import Finished, Outcome

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.live import Live

REDRAW_S: Final = 0.08
"""Between two drawings of what is still being written."""
REASON_CHARS: Final = 300
"""Of why a model did not answer."""
SPARE_LINES: Final = 4
"""Of the terminal's height, left free below what is drawn anew."""


class Screen:
    """Plain lines on a stream; what is shown of a turn, and the figures under it."""

    streams_text = True

    def __init__(self, stream: IO[str], prices: Prices, model: str) -> None:
        self.stream = stream
        self.prices = prices
        self.model = model
        self.outcome: Outcome | None = None
        """Of the newest turn that has ended."""
        self.usage: Usage = NO_USAGE
        """Of the turn, over all its frames."""
        self.turn = 0
        self.calls = 0
        self.tool_calls = 0
        self._began = time.monotonic()
        self._call = 0
        self._said = ""
        """What was last written and has no end of line yet: text, reasoning, or nothing."""
        self._answered = False
        """Whether the model's newest words were shown."""

    # A turn ------------------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Another turn follows."""
        self.outcome, self.usage, self.turn, self.calls, self.tool_calls = None, NO_USAGE, 0, 0, 0
        self._began, self._call, self._answered = time.monotonic(), 0, False

    def show(self, event: TurnEvent) -> None:
        match event:
            case TextDelta(text, call):
                self._part_of(call, "text")
                self._answered = True
                self.write(said.prose(text))
            case ReasoningDelta(text, call):
                self._part_of(call, "reasoning")
                self.write_reasoning(said.prose(text))
            case Reset():
                self.withdraw(event.text_chars + event.reasoning_chars, event.reason)
                self._answered = False
            case ModelFinished():
                self.calls += 1
            case ToolStarted(_, name, arguments):
                self._answered = False
                self.tool_calls += 1
                self.line(MARKS["call"] + said.call_words(name, arguments), STYLES["call"])
            case ToolFinished(_, name, output):
                kind = "result" if output.failure is None else "failure"
                self.line(f"{MARKS[kind]}{said.prose(name)}: {said.output_words(output)}", STYLES[kind])
            case PluginEvent(plugin, name, payload):
                words = said.first_line(f"{plugin} {name} {out.short_value(payload, said.RESULT_CHARS)}", 200)
                self.line(MARKS["note"] + words, STYLES["note"])
            case Retrying():
                self.line(retrying_words(event), "yellow")
            case Committed():
                self.ended(event)
            case Gap():
                self.line("[what was shown of this turn was not kept]", "yellow")
                self.calls = self.tool_calls = 0
            case _:
                pass

    def _part_of(self, call: int, kind: str) -> None:
        """What follows belongs to this call, and is text or reasoning."""
        if self._said and (call, kind) != (self._call, self._said):
            self.finish()
        self._call, self._said = call, kind

    def ended(self, event: Committed) -> None:
        self.finish()
        self.outcome, self.turn, self.usage = event.outcome, event.turn, self.usage + event.usage
        if isinstance(event.outcome, Finished):
            if not self._answered and self.streams_text:
                value = out.plain(event.outcome.value)
                self.whole(event.outcome.text or ("" if value is None else out.show_value(value)))
        else:
            self.line(f"[{said.outcome_words(event.outcome)}]", "red" if self.failed else "yellow")
        self.line(self.figures(), "dim")

    @property
    def failed(self) -> bool:
        """The newest turn ended without an answer, and nobody wanted that."""
        return not isinstance(self.outcome, Finished) and getattr(self.outcome, "reason", "cancelled") != "cancelled"

    @property
    def cost_usd(self) -> float | None:
        price = self.prices(self.model)
        return None if price is None else price.of(self.usage)

    def figures(self) -> str:
        """The line under a turn."""
        cost = cost_words(self.cost_usd)
        took = show_ms((time.monotonic() - self._began) * 1_000)
        calls = f"{out.count_of(self.calls, 'model call')}, {out.count_of(self.tool_calls, 'tool call')}"
        return f"[{tokens_words(self.usage)}{', ' if cost else ''}{cost}; {calls}; {took}]"

    # How it is written -------------------------------------------------------------------------------------------

    def write(self, text: str) -> None:
        """More text of the model."""
        self.stream.write(text)
        self.stream.flush()

    def write_reasoning(self, text: str) -> None:
        self.write(text)

    def whole(self, text: str) -> None:
        """A text that is complete."""
        self.finish()
        self.stream.write(said.prose(text).rstrip("\n") + "\n")
        self.stream.flush()

    def withdraw(self, chars: int, reason: str) -> None:
        """Forget what was written last."""
        self.finish()
        self.line(f"[taken back: the last {chars:,} characters; {said.prose(reason)}]", "yellow")

    def finish(self) -> None:
        """End the line, if something stands on it."""
        if self._said:
            self._said = ""
            self.stream.write("\n")
            self.stream.flush()

    def line(self, text: str, style: str = "") -> None:
        """A line of its own."""
        del style
        self.finish()
        self.stream.write(text + "\n")
        self.stream.flush()

    def tick(self) -> None:
        """Time has passed."""

    def close(self) -> None:
        self.finish()


class AsideScreen(Screen):
    """Everything but the text: the answer goes elsewhere."""

    streams_text = False

    def write(self, text: str) -> None:
        self._said = ""

    def whole(self, text: str) -> None:
        self._said = ""


class RichScreen(Screen):
    """A terminal: Markdown as it grows."""

    def __init__(self, console: Console, prices: Prices, model: str) -> None:
        super().__init__(console.file, prices, model)
        self.console = console
        self._live: Live | None = None
        self._growing = ""
        """What is drawn anew until it is complete."""
        self._kept = False
        """Whether something of this text was printed for good."""
        self._dirty = False
        self._drawn = 0.0

    def write(self, text: str) -> None:
        from lash.cli.markdown import complete

        self._growing += text
        if "\n" in self._growing[-(len(text) + said.TAB_COLUMNS * 2) :]:
            done, self._growing = complete(self._growing)
            self._keep(done)
        self._dirty = True
        self.tick()

    def write_reasoning(self, text: str) -> None:
        done, newline, rest = (self._growing + text).rpartition("\n")
        self._growing = rest
        if newline:
            self._keep(done)
        self._dirty = True
        self.tick()

    def _keep(self, text: str) -> None:
        """Print it for good, above what is still being written."""
        if not text.strip():
            return
        if self._live is not None:
            self._live.update("", refresh=False)
        if self._said != "reasoning" and self._kept:
            self.console.print()
        self.console.print(self._drawing(text.strip("\n")))
        self._kept = True

    def _drawing(self, text: str, lines_max: int | None = None) -> RenderableType:
        from rich.text import Text

        from lash.cli.markdown import Drawing

        return Text(text, STYLES["reasoning"]) if self._said == "reasoning" else Drawing(text, lines_max)

    def tick(self) -> None:
        if not self._dirty or time.monotonic() - self._drawn < REDRAW_S:
            return
        from rich.live import Live

        if self._live is None:
            self._live = Live(console=self.console, auto_refresh=False, transient=True)
            self._live.start()
        lines_max = max(1, self.console.height - SPARE_LINES)
        self._live.update(self._drawing(self._growing, lines_max), refresh=True)
        self._dirty, self._drawn = False, time.monotonic()

    def _erase(self) -> None:
        """Take away what was drawn and not kept."""
        self._dirty = False
        if self._live is not None:
            self._live.update("", refresh=False)
            self._live.stop()
            self._live = None

    def finish(self) -> None:
        self._erase()
        if self._said:
            self._keep(self._growing)
        self._said, self._growing, self._kept = "", "", False

    def withdraw(self, chars: int, reason: str) -> None:
        """What is still being drawn is erased; what was printed for good is struck by a line."""
        self._erase()
        where = "the text above was taken back" if self._kept else "what was written was taken back"
        self._said, self._growing, self._kept = "", "", False
        self.line(f"[{where}: {chars:,} characters; {said.prose(reason)}]", "yellow")

    def whole(self, text: str) -> None:
        self.finish()
        self._said = "text"
        self._keep(said.prose(text))
        self._said, self._kept = "", False

    def line(self, text: str, style: str = "") -> None:
        from rich.text import Text

        self.finish()
        self.console.print(Text(text, style), soft_wrap=True)

    def close(self) -> None:
        self.finish()


def retrying_words(event: Retrying) -> str:
    """Why nothing comes, and when it goes on."""
    again = f"asking again in {show_ms(event.delay_ms)}, try {event.attempt} of {event.of}"
    return f"[{said.first_line(event.message, REASON_CHARS)} ({again})]"


def screen_for_people(prices: Prices, model: str) -> Screen:
    """For a conversation on stdout: a terminal that can take lines back, or plain lines."""
    import sys

    if out.on_terminal():
        from rich.console import Console

        console = Console(highlight=False, markup=False, emoji=False)
        if console.is_terminal and not console.is_dumb_terminal:
            return RichScreen(console, prices, model)
    return Screen(sys.stdout, prices, model)
