"""The history in the console: the requests, the failed ones grouped by cause, their statistics, and one in full.

Reads only, through ``history.search``, ``failures``, ``statistics`` and ``render``. ``asked`` reads the address,
``words`` says it back, ``form`` offers it; each page is one module, and ``pages`` gives them their addresses.
"""

from history.admin.pages import RouteHistoryAdmin

__all__ = ["RouteHistoryAdmin"]
