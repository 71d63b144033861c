"""What an attachment may be, and what is said in the place of one that a model cannot be shown."""

from __future__ import annotations

import pytest

from lash.core.attachment import MEDIA_TYPES, check_attachment, shown
from lash.core.message import Media, Message, Text, ToolResult, user
from lash.errors import InvalidValue

CAT, SOUND = Media("sha256:01", "image/png", 3, "a cat"), Media("sha256:02", "audio/wav", 4)


def unheard(media: Media) -> str | None:
    return "nobody hears it" if media is SOUND else None


SAID = Text("[attachment, audio/wav, 4 bytes, is not shown: nobody hears it]")


def test_a_text_says_what_it_was_and_why_it_is_not_shown() -> None:
    told = shown(user("look", CAT, SOUND, origin="steer"), unheard)
    assert told == Message("user", (Text("look"), CAT, SAID), "steer")
    assert shown(user("look", CAT), lambda media: "it is gone").parts[1] == Text(
        "[attachment 'a cat', image/png, 3 bytes, is not shown: it is gone]"
    )


def test_a_result_stays_the_result_of_its_call() -> None:
    result = ToolResult("c-1", "listen", (Text("listen:"), SOUND, CAT), True)
    (told,) = shown(Message("tool", (result,)), unheard).parts
    assert told == ToolResult("c-1", "listen", (Text("listen:"), SAID, CAT), True)


def test_a_message_that_can_be_shown_is_the_same_object() -> None:
    for message in (user("hello"), user("look", CAT), Message("tool", (ToolResult("a", "f", (CAT,)),))):
        assert shown(message, unheard) is message


@pytest.mark.parametrize("media_type", MEDIA_TYPES)
def test_known_types_are_taken(media_type: str) -> None:
    check_attachment(b"x", media_type)


@pytest.mark.parametrize(
    ("data", "media_type", "says"),
    [
        (b"", "image/png", "1 to 33554432 bytes, not 0"),
        (b"x" * (32 * 1024 * 1024 + 1), "image/png", "not 33554433"),
        ("text", "text/plain", "not str"),
        (b"x", "IMAGE/PNG", "not 'IMAGE/PNG'"),
        (b"x", "audio/wav", "image/png, .* not 'audio/wav'"),
        (b"x", None, "not None"),
    ],
)
def test_others_are_refused(data: object, media_type: object, says: str) -> None:
    with pytest.raises(InvalidValue, match=says):
        check_attachment(data, media_type)
