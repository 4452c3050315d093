"""Metrics of all processes: what families there are (``catalogue``), how a process counts (``instruments``, once it has
joined: ``joining``), where the counts lie and how those of the dead are kept (``folder``). Without Django, because both
planes count; imports ``routing_project.env`` only.
"""
