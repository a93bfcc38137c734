"""Addresses of object storage, where a folder or a list may be named by one.

They are written into records, logs and reports, so one that holds credentials is refused and not shown.
"""

import re

from mscl.errors import ConfigError

_FORMS = {
    "s3": "bucket/folder", "gs": "bucket/folder", "az": "container/folder", "https": "host/videos.txt",
    "http": "host/videos.txt",
}  # fmt: skip
"""Scheme -> what follows it, for messages."""
_FORM = re.compile(r"[A-Za-z0-9._-]+(?P<port>:[0-9]+)?(/[^?]*)?")


def is_url(text: str) -> bool:
    """Whether a place is an address and no path of this machine."""
    return "://" in text


def check_addresses(places: str, *, setting: str) -> None:
    """`check_url` of each address among places with commas between."""
    for place in map(str.strip, places.split(",")):
        if is_url(place):
            check_url(place, setting=setting)


def check_url(url: str, *, setting: str) -> None:
    """Refuse an address that is none of object storage, or that holds credentials.

    Raises:
        ConfigError: names the setting.
    """
    scheme, _, rest = url.partition("://")
    if scheme not in _FORMS:
        known = ", ".join(f"{name}://" for name in _FORMS if name != "http")
        shown = f"{scheme}://..." if scheme.isalnum() else "an address of another form"
        raise ConfigError(f"{setting} is {shown}; give {known}, or the path of a folder")
    form = _FORM.fullmatch(rest)
    if form is None or (form["port"] and not scheme.startswith("http")):
        raise ConfigError(
            f"{setting} must be like {scheme}://{_FORMS[scheme]}, without user, password, key or `?`: what it holds is "
            "written into records and is not shown here; credentials belong into the environment (docs/data.md)"
        )
