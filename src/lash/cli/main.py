"""The ``lash`` command: what can be typed. What is done stands in the modules beside this one.

Commands are imported when they run, so that ``--help`` and shell completion cost no more than typer itself. Every
command takes ``--json`` and then prints one JSON document, or JSON lines where it streams, on stdout and nothing else
there; an error is ``{"error": {"code", "message"}}``. Exit codes are told in ``exits.py``.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence
from typing import Annotated, Any, Final, cast

import typer

from lash.cli import exits
from lash.limits import SUPERVISED_MAX

CLICK_ERROR = cast("type[Exception]", typer.BadParameter.__mro__[2])
"""What typer raises for wrong use: click's own class, or that of the click inside newer typers."""

EPILOG: Final = "Exit codes: 0 well, 1 what was asked about is not, 2 wrong use, 3 no usable database."

app = typer.Typer(
    name="lash",
    help="Durable agents and background processes in plain async Python.",
    epilog=EPILOG,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich" if sys.stdout.isatty() else None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

URL_NAMES = ("--url", "--db")
"""What names a database is called the same for every command."""
Json = Annotated[bool, typer.Option("--json", help="Print JSON on stdout, and nothing else.")]
Url = Annotated[
    str | None, typer.Option(*URL_NAMES, envvar="LASH_URL", help="The database: sqlite:///file.db or postgresql://….")
]
LookedAtUrl = Annotated[
    str | None, typer.Option(*URL_NAMES, envvar="LASH_URL", help="The database; else that of lash chat --model.")
]
OwnUrl = Annotated[
    str | None, typer.Option(*URL_NAMES, envvar="LASH_URL", help="Another database than the target's own.")
]
Id = Annotated[str, typer.Argument(metavar="ID", help="The process.")]
TargetArgument = Annotated[str, typer.Argument(metavar="TARGET", help="module:app or path/to/file.py[:app].")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Log what the worker does, on stderr.")]


@app.callback(invoke_without_command=True)
def root(
    version: Annotated[bool, typer.Option("--version", help="Print the version and end.", is_eager=True)] = False,
) -> None:
    if version:
        import lash

        print(f"lash {lash.__version__}")
        raise typer.Exit


@app.command()
def demo(
    folder: Annotated[str | None, typer.Argument(metavar="FOLDER", help="Files to analyse; else Python's own.")] = None,
    seconds: Annotated[int, typer.Option("--seconds", min=5, max=600, help="About how long it should take.")] = 20,
    url: Annotated[str | None, typer.Option(*URL_NAMES, help="Another database than a temporary one.")] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Keep the temporary database, to look into it.")] = False,
    as_json: Json = False,
) -> int:
    """A real job on real files, killed half-way; nothing is lost."""
    from lash.cli.demo.command import demo as run_demo

    return run_demo(folder, seconds, url, keep, as_json)


@app.command()
def dev(target: TargetArgument, url: OwnUrl = None, verbose: Verbose = False, as_json: Json = False) -> int:
    """Run a worker that starts again when a file is saved."""
    from lash.cli.dev import dev as run_dev

    return run_dev(target, url, verbose, as_json)


@app.command()
def worker(
    target: TargetArgument,
    processes: Annotated[
        int, typer.Option("--processes", "-n", min=1, max=SUPERVISED_MAX, help="Workers to keep alive.")
    ] = 1,
    url: OwnUrl = None,
    verbose: Verbose = False,
    as_json: Json = False,
    lifeline: Annotated[int | None, typer.Option("--lifeline", hidden=True)] = None,
) -> int:
    """Run what is started, until SIGTERM or Ctrl-C; then drain."""
    from lash.cli import serving

    if processes > 1:
        return serving.supervise(target, url, processes, verbose, as_json)
    return serving.worker(target, url, verbose, as_json, lifeline)


@app.command()
def start(
    target: TargetArgument,
    name: Annotated[str, typer.Argument(metavar="NAME", help="A registered process.")],
    arguments: Annotated[
        str | None, typer.Argument(metavar="ARGS-JSON", help="A list, or an object of keywords; - reads stdin.")
    ] = None,
    process_id: Annotated[str | None, typer.Option("--id", help="The same id is the same process.")] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for the outcome; exit 1 unless it completes.")] = False,
    timeout: Annotated[str | None, typer.Option("--timeout", help="With --wait: no longer than this, as 30s.")] = None,
    delay: Annotated[str | None, typer.Option("--delay", help="Start no sooner than this, as 5m.")] = None,
    tag: Annotated[list[str] | None, typer.Option("--tag", help="May be given several times.")] = None,
    priority: Annotated[int, typer.Option("--priority", help="Larger runs first.")] = 0,
    url: OwnUrl = None,
    as_json: Json = False,
) -> int:
    """Start a process; needs no worker."""
    from lash.cli import acting, apps

    return apps.run(
        acting.start(target, name, arguments, url, process_id, delay, tag or [], priority, wait, timeout, as_json)
    )


@app.command()
def ls(
    status: Annotated[
        str | None, typer.Option("--status", help="running, completed, failed, cancelled or abandoned.")
    ] = None,
    name: Annotated[str | None, typer.Option("--name", help="Only of this name.")] = None,
    tag: Annotated[str | None, typer.Option("--tag", help="Only with this tag.")] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=1000, help="Rows of one page.")] = 50,
    after: Annotated[str | None, typer.Option("--after", help="The last id of the page before.")] = None,
    url: Url = None,
    as_json: Json = False,
) -> None:
    """List processes, newest first."""
    from lash.cli import apps, looking

    apps.run(looking.ls(url, status, name, tag, limit, after, as_json))


@app.command()
def show(
    found_id: Annotated[str, typer.Argument(metavar="ID", help="A process, or a session; session:ID is the session.")],
    nodes: Annotated[bool, typer.Option("--nodes", help="The nodes of a session instead of its transcript.")] = False,
    limit: Annotated[int, typer.Option("--limit", min=1, max=1000, help="Of a session: its newest nodes.")] = 100,
    url: LookedAtUrl = None,
    as_json: Json = False,
) -> None:
    """One process or session: its record, and what happened."""
    from lash.cli import apps, looking

    apps.run(looking.show(url, found_id, as_json, nodes, limit))


@app.command()
def sessions(
    target: Annotated[
        str | None, typer.Argument(metavar="TARGET", help="The app whose database is meant, in place of --url.")
    ] = None,
    agent: Annotated[str | None, typer.Option("--agent", help="Only with this agent.")] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=1000, help="Rows of one page.")] = 50,
    after: Annotated[str | None, typer.Option("--after", help="The last id of the page before.")] = None,
    url: LookedAtUrl = None,
    as_json: Json = False,
) -> None:
    """List sessions, newest first; needs no agent's code."""
    from lash.cli import apps, sessions as listing

    apps.run(listing.sessions(target, url, agent, limit, after, as_json))


@app.command()
def chat(
    target: Annotated[
        str | None, typer.Argument(metavar="TARGET", help="module:app or path/to/file.py[:app], with an agent.")
    ] = None,
    model: Annotated[str | None, typer.Option("--model", help="In place of TARGET: openai:gpt-5-mini.")] = None,
    session: Annotated[str | None, typer.Option("--session", help="Go on with it, or begin it.")] = None,
    agent: Annotated[str | None, typer.Option("--agent", help="Which, where TARGET has several.")] = None,
    instructions: Annotated[str | None, typer.Option("--instructions", help="With --model.")] = None,
    text: Annotated[
        str | None, typer.Option("--print", "-p", metavar="TEXT", help="Ask this, print the answer; - reads stdin.")
    ] = None,
    no_worker: Annotated[bool, typer.Option("--no-worker", help="Leave the turns to workers that run.")] = False,
    url: Annotated[
        str | None,
        typer.Option(*URL_NAMES, envvar="LASH_URL", help="The database; with --model else ~/.lash/chat.db."),
    ] = None,
    as_json: Json = False,
) -> int:
    """Talk to an agent, or to a model."""
    from lash.cli import chat as talking

    wanted = talking.Wanted(target, model, url, session, agent, instructions, text, not no_worker, as_json)
    return talking.chat(wanted)


@app.command()
def events(
    process_id: Id,
    after: Annotated[int, typer.Option("--after", min=0, help="Only events of a larger sequence.")] = 0,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the process has ended.")] = False,
    url: Url = None,
    as_json: Json = False,
) -> None:
    """The log of one process."""
    from lash.cli import apps, looking

    apps.run(looking.events(url, process_id, after, follow, as_json))


@app.command()
def explain(process_id: Id, url: LookedAtUrl = None, as_json: Json = False) -> None:
    """Say in words why a process is not moving."""
    from lash.cli import apps, looking

    apps.run(looking.explain(url, process_id, as_json))


@app.command()
def signal(
    process_id: Id,
    name: Annotated[str, typer.Argument(metavar="NAME", help="What the body asks for with ctx.signal(NAME).")],
    payload: Annotated[str | None, typer.Argument(metavar="PAYLOAD-JSON", help="Any JSON; - reads stdin.")] = None,
    key: Annotated[str | None, typer.Option("--key", help="The same key is the same signal.")] = None,
    url: Url = None,
    as_json: Json = False,
) -> None:
    """Send a signal; it is kept until the body asks for it."""
    from lash.cli import acting, apps

    apps.run(acting.signal(url, process_id, name, payload, key, as_json))


@app.command()
def cancel(
    process_id: Id,
    reason: Annotated[str, typer.Option("--reason", help="Told to the body, and kept.")] = "cancelled by an operator",
    url: Url = None,
    as_json: Json = False,
) -> None:
    """Ask a process to stop, and its children with it."""
    from lash.cli import acting, apps

    apps.run(acting.cancel(url, process_id, reason, as_json))


@app.command()
def retry(process_id: Id, url: Url = None, as_json: Json = False) -> None:
    """Make a blocked or postponed process claimable now."""
    from lash.cli import acting, apps

    apps.run(acting.retry(url, process_id, as_json))


@app.command()
def prune(
    older_than: Annotated[str, typer.Option("--older-than", help="As 30d, 12h or 2w.")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    url: Url = None,
    as_json: Json = False,
) -> None:
    """Delete what ended long ago, with its journal."""
    from lash.cli import acting, apps

    apps.run(acting.prune(url, older_than, yes, as_json))


@app.command()
def migrate(
    database: Annotated[str | None, typer.Argument(metavar="URL", help="The same as --url.")] = None,
    sql: Annotated[bool, typer.Option("--sql", help="Print it as SQL instead; needs no database.")] = False,
    dialect: Annotated[str | None, typer.Option("--dialect", help="With --sql: sqlite or postgres.")] = None,
    url: Url = None,
    as_json: Json = False,
) -> None:
    """Bring a database up to date, or make one."""
    from lash.cli import apps, upkeep

    where = database or url
    if sql:
        upkeep.print_migrations(where if database or not dialect else None, dialect, as_json)
    else:
        apps.run(upkeep.migrate(where, as_json))


@app.command()
def promote(
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="What to move: sqlite:///file.db.")],
    target: Annotated[str, typer.Argument(metavar="TARGET", help="Where to: postgresql://user@host/database.")],
    as_json: Json = False,
) -> None:
    """Move a SQLite database to PostgreSQL, whole."""
    from lash.cli import apps, upkeep

    apps.run(upkeep.promote(source, target, as_json))


@app.command()
def doctor(url: Url = None, as_json: Json = False) -> int:
    """Is the database well, and is its work being served?"""
    from lash.cli import apps, doctor as examining

    return apps.run(examining.doctor(url, as_json))


@app.command()
def check(
    target: TargetArgument,
    versions: Annotated[bool, typer.Option("--versions", help="Also name processes without a version.")] = False,
    as_json: Json = False,
) -> int:
    """Look for code that would not replay as it ran."""
    from lash.cli.checking import check as run_check

    return run_check(target, versions, as_json)


# Running -----------------------------------------------------------------------------------------------------------


def run(arguments: Sequence[str]) -> int:
    """One command line; its exit code. Prints whatever there is to say, errors included."""
    as_json = "--json" in arguments
    try:
        code: Any = app(args=list(arguments), prog_name="lash", standalone_mode=False)
    except typer.Abort:
        return exits.INTERRUPTED
    except KeyboardInterrupt:
        return exits.INTERRUPTED
    except SystemExit as error:  # typer's own: the shell asked for completion, or nobody reads stdout any more
        pipe_broke = type(sys.stdout).__name__ == "PacifyFlushWrapper"
        return exits.BROKEN_PIPE if pipe_broke else error.code if isinstance(error.code, int) else exits.OK
    except CLICK_ERROR as error:
        return wrong_use(error, as_json)
    except Exception as error:  # noqa: BLE001  # the one place where an error becomes words and a code
        return failed(error, as_json)
    return code if isinstance(code, int) else exits.OK


def wrong_use(error: Exception, as_json: bool) -> int:
    """What typer found wrong with the command line."""
    if as_json:
        from lash.cli.output import print_json

        message = str(cast(Any, error).format_message())
        print_json({"error": {"code": "wrong_use", "message": message}})
    else:
        cast(Any, error).show(file=sys.stderr)
    return exits.USAGE


def failed(error: Exception, as_json: bool) -> int:
    """A typed error becomes its code and message; anything else is a defect, and its traceback is kept."""
    from lash.cli.output import clean, print_json
    from lash.errors import LashError

    if not isinstance(error, LashError):
        traceback.print_exception(error)
        if as_json:
            print_json({"error": {"code": "defect", "message": f"{type(error).__name__}: {error}"}})
        else:
            print("This is a defect of lash. Please report it with the lines above.", file=sys.stderr)
        return exits.DEFECT
    if as_json:
        print_json(exits.error_document(error))
    else:
        print(clean(f"lash: {error.message} [{error.code}]"), file=sys.stderr)
    return exits.exit_code_of(error)


def app_main() -> None:
    """The console script."""
    for stream in (sys.stdout, sys.stderr):
        cast(Any, stream).reconfigure(errors="backslashreplace")
    code = run(sys.argv[1:])
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        code = exits.BROKEN_PIPE
    if code == exits.BROKEN_PIPE:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else Python complains once more at its end
    sys.exit(code)


if __name__ == "__main__":
    app_main()
