"""How many connections and files a process may have open: as many as its administrator allows, where systems start
processes with far fewer. Each watcher of the feed takes one in the console and two in its gateway.

Imports nothing of the project.
"""

from __future__ import annotations

import resource
from contextlib import suppress
from typing import Final

#: Beyond this nothing of ours needs more, and some libraries make tables of the size of the limit.
ENOUGH: Final = 65_536


def raise_limit() -> None:
    """Raise the soft limit to the hard one, for this process and those it starts."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = ENOUGH if hard == resource.RLIM_INFINITY else min(hard, ENOUGH)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with suppress(OSError, ValueError):  # macOS allows less than it says
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
