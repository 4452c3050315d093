"""Tables: the live state laid out in one writable buffer, which may be memory that several processes share.

Fixed records keyed by stable ids (targets, providers), set-associative tables (pins, last inputs, counters) and a
small table of quarantines, behind ``state.TableState``, which is ``live.LiveState``. Pure: a buffer and locks are
passed in (``memory.Memory``); nothing here opens a file, reads a clock or knows what a process is, beyond its owner
number. ``local_live`` runs it in private memory, ``routes.live`` in a file that the processes of a host map.

What must hold of every table:

- A test-and-set happens under a lock. What only adds up is a column per owner: one writes it, all read it.
- Readers take no lock. They read between two looks at a sequence word that is odd while somebody writes, and wait
  for the lock only if they meet a writer.
- The owner of a lock may be killed at any moment. Updates are ordered so that every prefix of their writes is
  something to go on from; an odd sequence word tells the next who locks to count again what follows from other cells.
- Nothing is ever full: the least useful entry makes room, or a target is remembered by one process alone.
"""
