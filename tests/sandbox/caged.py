"""A real cage over a small lake, asked without the statement check: what holds here holds for any statement."""

from __future__ import annotations

import asyncio
import hashlib
import socket
from pathlib import Path
from typing import Self

from sinks.sandbox.catalog import write_catalog
from sinks.sandbox.forker import ENTRY
from sinks.sandbox.keeper import Answer, Keeper
from sinks.sandbox.limits import MEGABYTE, Limits
from sinks.sandbox.order import Format, Order
from sinks.sql.snapshot import Span
from tests.sql.test_views import append, gpu_row

LIMITS = Limits(
    wall_secs=2.5, memory_bytes=512 * MEGABYTE, spill_bytes=64 * MEGABYTE, rows=1_000, answer_bytes=MEGABYTE
)
"""So small that a bomb reaches them soon."""

SECRET = "the-secret-outside"


class Caged:
    """Keep a lake, what lies around it, and the way to ask it."""

    def __init__(self, folder: Path, entry: str = ENTRY) -> None:
        self.lake, self.outside = folder / "lake", folder / "outside"
        self._make_lake()
        self._make_outside()
        self._catalog = folder / "catalog.duckdb"
        write_catalog(self.lake, Span(), self._catalog)
        self._runner = asyncio.Runner()
        self.keeper = Keeper(entry)

    def __enter__(self) -> Self:
        self._runner.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        async def stop() -> None:
            self.keeper.stop()

        self._runner.run(stop())
        self._runner.__exit__(*error)  # type: ignore[arg-type]

    def ask(self, query: str, form: Format = "json", limits: Limits = LIMITS, *, is_checked: bool = False) -> Answer:
        """Ask, and wait for the answer."""
        return self._runner.run(self.asked(query, form, limits, is_checked=is_checked))

    def ask_many(self, queries: list[str], at_once: int, limits: Limits = LIMITS) -> list[Answer]:
        """Ask some at a time; the answers are in the order of the questions."""

        async def asked() -> list[Answer]:
            turns = asyncio.Semaphore(at_once)

            async def one(query: str) -> Answer:
                async with turns:
                    return await self.asked(query, "json", limits)

            return await asyncio.gather(*map(one, queries))

        return self._runner.run(asked())

    async def asked(
        self, query: str, form: Format = "json", limits: Limits = LIMITS, *, is_checked: bool = False
    ) -> Answer:
        """Ask within an event loop of the caller's: the one of this object."""
        async with self.keeper.folder() as spill:
            paths = (str(self.lake), str(self._catalog), str(spill))
            return await self.keeper.ask(Order(query, form, *paths, limits, is_checked=is_checked))

    def run(self, coroutine: object) -> object:
        """Run something in this object's loop."""
        return self._runner.run(coroutine)  # type: ignore[arg-type]

    def _make_lake(self) -> None:
        append(self.lake, "gpu", *(gpu_row(gpu=number) for number in range(8)))

    def _make_outside(self) -> None:
        """Make a folder that everybody may write, with a secret in it, and links to it within the lake."""
        self.outside.mkdir()
        self.outside.chmod(0o777)
        for parent in list(self.outside.parents)[:3]:
            parent.chmod(parent.stat().st_mode | 0o011)
        (self.outside / "secret.csv").write_text(f"a\n{SECRET}\n")
        (self.lake / "link.csv").symlink_to(self.outside / "secret.csv")
        (self.lake / "linked").symlink_to(self.outside)
        (self.lake / "passwd").symlink_to("/etc/passwd")


def tree(folder: Path) -> dict[str, str]:
    """Return every file below a folder with what is in it."""
    return {
        str(path.relative_to(folder)): f"-> {path.readlink()}" if path.is_symlink() else digest(path)
        for path in sorted(folder.rglob("*"))
    }


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "folder"


class Ears:
    """Listen on TCP, UDP, a unix socket of a path and one without, all of which must hear nothing."""

    def __init__(self, folder: Path) -> None:
        self.path = str(folder / "ear.sock")
        self.abstract = f"\0wattline-ear-{folder.name}"
        self.tcp = self._bound(socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", 0))
        self.udp = self._bound(socket.AF_INET, socket.SOCK_DGRAM, ("127.0.0.1", 0))
        self.unix = self._bound(socket.AF_UNIX, socket.SOCK_STREAM, self.path)
        Path(self.path).chmod(0o777)
        self.hidden = self._bound(socket.AF_UNIX, socket.SOCK_STREAM, self.abstract)

    @staticmethod
    def _bound(family: int, kind: int, address: object) -> socket.socket:
        ear = socket.socket(family, kind)
        ear.bind(address)
        if kind == socket.SOCK_STREAM:
            ear.listen(128)
        ear.setblocking(False)
        return ear

    @property
    def ports(self) -> dict[str, int]:
        return {"tcp": self.tcp.getsockname()[1], "udp": self.udp.getsockname()[1]}

    def heard(self) -> list[str]:
        """Return which of them somebody spoke to."""
        return [name for name, ear in vars(self).items() if isinstance(ear, socket.socket) and self._has(ear)]

    @staticmethod
    def _has(ear: socket.socket) -> bool:
        try:
            if ear.type == socket.SOCK_DGRAM:
                ear.recv(1)
            else:
                ear.accept()[0].close()
        except BlockingIOError:
            return False
        return True

    def close(self) -> None:
        for ear in (self.tcp, self.udp, self.unix, self.hidden):
            ear.close()
