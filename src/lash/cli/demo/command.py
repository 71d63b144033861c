"""``lash demo`` from its arguments to its exit code: 0 only when every check holds.

The database is a temporary one unless another is named, and is kept when something is wrong, for then it is evidence.
"""

from __future__ import annotations

import asyncio
import secrets
import shutil
import tempfile
from pathlib import Path

from lash.cli import exits, output as out
from lash.cli.apps import database_url
from lash.cli.demo.app import Setting
from lash.cli.demo.crew import Crew
from lash.cli.demo.plan import Plan, make_plan
from lash.cli.demo.reckoning import reckon, reckoning_document
from lash.cli.demo.story import DemoFailed, Story
from lash.cli.demo.view import say_plan, say_reckoning, view_for
from lash.stores.naming import without_password


def demo(folder: str | None, seconds: int, url: str | None, keep: bool, as_json: bool) -> int:
    plan = make_plan(folder, seconds)
    if url is not None:
        database_url(url)
    place = Path(tempfile.mkdtemp(prefix="lash-demo-"))
    where = url or f"sqlite:///{place}/demo.db"
    kept = True
    try:
        code = asyncio.run(play(plan, place, where, as_json))
        kept = keep or code != exits.OK
    except KeyboardInterrupt:
        kept = keep
        raise
    finally:
        if kept:
            out.remark(f"Kept: {place}. Look into it with: lash ls --url {without_password(where)}")
        else:
            shutil.rmtree(place, ignore_errors=True)
    return code


async def play(plan: Plan, place: Path, url: str, as_json: bool) -> int:
    (place / "counters").mkdir()
    profile = f"demo-{secrets.token_hex(4)}"
    setting = Setting(url, profile, str(plan.folder), str(place / "ledger"), str(place / "counters"), plan.ttl_ms)
    crew = Crew(setting, place / "workers.log")
    view = view_for(crew, as_json)
    view.open()
    try:
        say_plan(plan, view.tell)
        story = Story(plan, setting, crew, view.tell, view.show)
        async with story.app:
            await story.run()
            view.tell("Everything is read back and compared.")
            found = await reckon(story, Path(setting.ledger))
    except DemoFailed as error:
        view.close()
        return failed(error, crew, as_json)
    finally:
        view.close()
    if as_json:
        out.print_json(reckoning_document(found, story))
    else:
        say_reckoning(found, story)
    return exits.OK if found.good else exits.FAILED


def failed(error: DemoFailed, crew: Crew, as_json: bool) -> int:
    out.remark(f"lash: {error.message} [{error.code}]")
    if crew.log.exists():
        tail = crew.log.read_text("utf-8", "replace").splitlines()[-20:]
        out.remark("\n".join(["The end of the workers' log:", *tail]))
    if as_json:
        out.print_json(exits.error_document(error))
    return exits.FAILED
