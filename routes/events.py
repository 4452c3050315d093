"""What happened in the control plane, told after the transaction that did it has been committed.

``acted`` is sent once for every audited action. Receivers get ``entry`` (an AuditEntry) and must not raise: they
are told, not asked.
"""

from django.dispatch import Signal

#: Sent with ``entry``.
acted = Signal()
