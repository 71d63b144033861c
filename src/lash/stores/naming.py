"""What is shown of a URL never holds a password, however badly the URL is written."""

from __future__ import annotations

import re

AFTER_USER = re.compile(r"(//[^/@:]*):.*@", re.DOTALL)
IN_QUERY = re.compile(r"([?&](?:ssl)?password=)[^&]*")


def without_password(url: str) -> str:
    """The URL as it may be shown. What stands between the user and the last @ is taken for the password."""
    if "//" not in url and "@" in url:
        return "***" + url[url.rindex("@") :]
    return IN_QUERY.sub(r"\1***", AFTER_USER.sub(r"\1:***@", url))
