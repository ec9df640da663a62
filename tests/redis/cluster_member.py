"""What a node of a Redis Cluster says of itself and of the others."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Member"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """What one node thinks of another (a line of CLUSTER NODES)."""

    node_id: str
    port: int
    flags: frozenset[str]
    master_id: str | None
    is_linked: bool
    slots: tuple[str, ...]

    @classmethod
    def parse(cls, line: str) -> Member:
        node_id, address, flags, master_id, _, _, _, link, *slots = line.split()
        return cls(
            node_id=node_id,
            port=int(address.partition("@")[0].rpartition(":")[2]),
            flags=frozenset(flags.split(",")) - {"myself"},
            master_id=None if master_id == "-" else master_id,
            is_linked=link == "connected",
            slots=tuple(slots),
        )

    @property
    def is_sound(self) -> bool:
        """Reachable, and neither suspected nor a stranger."""
        return self.is_linked and self.flags in ({"master"}, {"slave"})

    @property
    def owned(self) -> set[int]:
        """The slots it serves, without those on the move."""
        ranges = (text.partition("-")[::2] for text in self.slots if not text.startswith("["))
        return {
            slot for first, last in ranges for slot in range(int(first), int(last or first) + 1)
        }
