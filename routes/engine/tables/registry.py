"""Records of a process: the objects for the targets and providers it knows, made when first asked for.

A record that the tables have no room for is kept in private memory: its target is remembered by this process alone.
Imports the tables.
"""

from __future__ import annotations

import re
from math import isfinite
from typing import TYPE_CHECKING

from routes.engine.circuit import OWNERS
from routes.engine.tables.directory import HEAD, Directory
from routes.engine.tables.layout import Layout
from routes.engine.tables.memory import (
    CELL,
    DIRECTORY,
    HIGHEST,
    KEYS,
    MOVED,
    PROVIDERS,
    PUBLISHED,
    QUARANTINES,
    TARGETS,
    Memory,
    ThreadLocks,
    id_key,
    id_text,
    private,
)
from routes.engine.tables.records import (
    IN_FLIGHT,
    NO_COLUMN,
    OBSERVED,
    PROVIDER_IN_FLIGHT,
    REFUSED,
    SEEN,
    STATE,
    ProviderRecord,
    TargetRecord,
    guard_of,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from routes.engine.snapshot import Target
    from routes.engine.tables.memory import Guard, Section

_SINGLE = Layout(1, 1, 1, 1, 1, 1, 1, owners=1, happened=1)
_FLAGGED = re.compile(rb"[^\0]")
#: What is worth keeping longer than any record of an old revision: a circuit that is not closed.
_OPEN_IS_WORTH = 1e6


class Records:
    def __init__(self, memory: Memory) -> None:
        layout = memory.layout
        self._memory = memory
        self._targets = Directory(memory, layout.targets, TARGETS)
        self._providers = Directory(memory, layout.providers, PROVIDERS)
        self._known: dict[str, TargetRecord] = {}
        self._by_index: dict[int, TargetRecord] = {}
        self._alone: dict[str, TargetRecord] = {}  # those in private memory
        #: of each head that is configured: the record of the head as a whole, and the ids of its targets
        self.heads: dict[str, tuple[TargetRecord, list[str]]] = {}
        self._known_providers: dict[str, ProviderRecord] = {}
        self._serial = 0.0  # of our last publish
        self.moved = memory.words[MOVED]

    def of(self, target_id: str) -> TargetRecord:
        return self._known.get(target_id) or self._make(target_id)

    def provider(self, provider_id: str) -> ProviderRecord:
        return self._known_providers.get(provider_id) or self._make_provider(provider_id)

    def configured(self, targets: Iterable[Target]) -> None:
        """These are the targets of the revision now in force; forget all others. Their records stay in the tables
        while there is room, in case they come back or another process still uses them."""
        memory = self._memory
        lock = memory.locks.handle(DIRECTORY)
        memory.locks.acquire(lock)
        self._serial = memory.words[PUBLISHED] = memory.words[PUBLISHED] + 1
        memory.locks.release(lock)
        self.check()
        kept: dict[str, TargetRecord] = {}
        providers: dict[str, ProviderRecord] = {}
        heads: dict[str, tuple[TargetRecord, list[str]]] = {}
        for target in targets:
            kept[target.id] = record = self.of(target.id)
            record.target = target
            record.cells[SEEN] = self._serial
            if target.head is not None:
                head = kept[target.head_key] = self.of(target.head_key)
                head.cells[SEEN] = self._serial
                heads.setdefault(target.head_key, (head, []))[1].append(target.id)
                record.belongs_to(head)
            provider = providers[target.provider.id] = self.provider(target.provider.id)
            provider.cells[SEEN] = self._serial
        self._alone = {key: record for key, record in self._alone.items() if key in kept}
        self._by_index = {index: record for index, record in self._by_index.items() if record.id in kept}
        self._known, self._known_providers = kept, providers
        self.heads = {key: (head, list(dict.fromkeys(ids))) for key, (head, ids) in heads.items()}

    def check(self) -> None:
        """Forget records that were given to another id."""
        self.moved = self._memory.words[MOVED]
        gone = [record for record in self._known.values() if record.given_away]
        for record in gone:
            del self._known[record.id]
        if gone:
            self._by_index = {i: record for i, record in self._by_index.items() if not record.given_away}
        known = self._known_providers
        self._known_providers = {key: record for key, record in known.items() if not record.given_away}

    def flagged(self) -> Iterator[TargetRecord]:
        """Those that this process knows, of all that are flagged."""
        start = self._memory.layout.flags.start
        flags = bytes(self._memory.raw[start : start + int(self._memory.words[TARGETS])])
        for match in _FLAGGED.finditer(flags):
            record = self._by_index.get(match.start())
            if record is not None:
                yield record
        for record in self._alone.values():
            if record.flag:
                yield record

    def find(self, target_id: str) -> TargetRecord | None:
        """Only if there is one already."""
        if target_id in self._known or self._targets.find(id_key(target_id)) is not None:
            return self.of(target_id)
        return None

    def knows_provider(self, provider_id: str) -> bool:
        return self._providers.find(id_key(provider_id)) is not None

    def everywhere(self) -> Iterator[TargetRecord]:
        """All targets in the tables, known to this process or not."""
        for key, index in list(self._targets.keys().items()):
            yield self._by_index.get(index) or TargetRecord(self._memory, index, id_text(key))

    def forget_owner(self, owner: int) -> None:
        """A process is gone: what it had in flight, and its half-open slots."""
        memory = self._memory
        layout = memory.layout
        tables = ((layout.targets, TARGETS, IN_FLIGHT), (layout.providers, PROVIDERS, PROVIDER_IN_FLIGHT))
        for section, used, column in tables:
            for index in range(int(memory.words[used])):
                memory.part(section, index)[column.start + owner] = 0.0
        start = layout.flags.start
        flags = bytes(memory.raw[start : start + int(memory.words[TARGETS])])
        for match in _FLAGGED.finditer(flags):
            record = self._by_index.get(match.start()) or TargetRecord(memory, match.start(), "")
            with record.guard:
                record.circuit.free_slots_of(owner)

    def start_over(self, shift: float) -> None:
        """No process is left: nothing is in flight, and the clock may have started anew. Only while nobody else is
        there."""
        memory = self._memory
        memory.words[HIGHEST] = memory.owner + 1
        for record in self.everywhere():
            record.cells[IN_FLIGHT] = NO_COLUMN
            with record.guard:
                record.repair()  # of a machine that stopped, not all pages may have reached the disk
                record.circuit.free_all_slots()
                if shift:
                    record.shift(shift)
        for index in range(int(memory.words[PROVIDERS])):
            cells = memory.part(memory.layout.providers, index)
            cells[PROVIDER_IN_FLIGHT] = NO_COLUMN
            if shift:
                cells[REFUSED] = 0.0

    def sane(self) -> bool:
        """Whether this can be a live state at all, and not somebody else's bytes."""
        memory = self._memory
        layout = memory.layout
        used = (
            (TARGETS, layout.targets),
            (PROVIDERS, layout.providers),
            (QUARANTINES, layout.quarantines),
            (KEYS, layout.keys),
        )
        if any(not 0 <= memory.words[word] <= section.entries for word, section in used):
            return False
        for index in range(int(memory.words[TARGETS])):
            cells = memory.part(layout.targets, index)
            codes = cells[STATE] in (0.0, 1.0, 2.0) and cells[OBSERVED] in (0.0, 1.0, 2.0, 3.0)
            if not codes or not isfinite(sum(cells[HEAD:])):
                return False
        for index in range(int(memory.words[KEYS])):
            if not isfinite(sum(memory.part(layout.keys, index)[HEAD:])):
                return False
        return 0 <= memory.words[HIGHEST] <= OWNERS

    def copy_to(self, other: Memory) -> None:
        layout, raw = self._memory.layout, self._memory.raw
        for section, word in ((layout.targets, TARGETS), (layout.providers, PROVIDERS)):
            end = section.offset(int(self._memory.words[word]))
            other.raw[section.start : end] = raw[section.start : end]

    def take_over(self, other: Records) -> None:
        """Know what another, whose tables were copied, knows: its targets' settings."""
        for record in list(other._known.values()):
            if record.id not in other._alone:
                self.of(record.id).target = record.target
        for key, (_, ids) in other.heads.items():
            self.heads[key] = (self.of(key), ids)
            for target_id in ids:
                self.of(target_id).belongs_to(self.of(key))

    def _make(self, target_id: str) -> TargetRecord:
        memory = self._memory
        section = memory.layout.targets
        index = self._targets.place(id_key(target_id), self._worth, lambda each: guard_of(memory, section, each))
        if index is None:
            record = self._alone.setdefault(target_id, TargetRecord(alone(memory), 0, target_id))
            return self._known.setdefault(target_id, record)
        record = self._known.setdefault(target_id, TargetRecord(memory, index, target_id))
        self._by_index[index] = record
        return record

    def _make_provider(self, provider_id: str) -> ProviderRecord:
        memory = self._memory
        section = memory.layout.providers

        def worth(index: int) -> float | None:
            return _seen(memory, section, index, self._serial)

        def guard(index: int) -> Guard:
            return guard_of(memory, section, index)

        index = self._providers.place(id_key(provider_id), worth, guard)
        record = ProviderRecord(alone(memory), 0) if index is None else ProviderRecord(memory, index)
        return self._known_providers.setdefault(provider_id, record)

    def _worth(self, index: int) -> float | None:
        seen = _seen(self._memory, self._memory.layout.targets, index, self._serial)
        if seen is None:
            return None
        cells = self._memory.part(self._memory.layout.targets, index)
        return seen + _OPEN_IS_WORTH if cells[STATE] else seen


def _seen(memory: Memory, section: Section, index: int, serial: float) -> float | None:
    """When a record was configured last; None = it still is."""
    seen: float = memory.cells[section.offset(index) // CELL + SEEN]
    return seen if seen < serial else None


def alone(memory: Memory) -> Memory:
    """Room for one record that nobody else sees."""
    return Memory(private(_SINGLE.length), _SINGLE, ThreadLocks(memory.locks.mutex))
