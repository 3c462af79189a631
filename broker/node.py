"""One node of the embedded Kafka: its folder, its Java, its log."""

from __future__ import annotations

import shutil
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from broker import leash
from schemas.errors import ConfigurationError, UnavailableError

READY = "Kafka Server started"
READY_WITHIN_SECS = 60.0
LARGEST_LOG_BYTES = 10_000_000
_POLL_SECS = 0.02


class PortLostError(ConfigurationError):
    """Report a port that another program took between our look and Kafka's."""


@dataclass
class Node:
    """Run one broker that is also a controller; `start`, `stop` and `kill` as often as a test likes."""

    number: int
    port: int
    controller_port: int
    voters: str
    cluster_id: str
    folder: Path
    log_path: Path
    command: Sequence[str]
    settings: Mapping[str, str]
    launch_options: Sequence[str] = ()
    popen: subprocess.Popen | None = field(default=None, init=False)
    _log_from: int = field(default=0, init=False)
    _launch: dict = field(default_factory=dict, init=False)

    @property
    def is_running(self) -> bool:
        """Tell whether the node's Java is alive."""
        return self.popen is not None and self.popen.poll() is None

    @property
    def pid(self) -> int | None:
        """Return the process id while it runs."""
        return self.popen.pid if self.popen and self.is_running else None

    @property
    def ended(self) -> str | None:
        """Return in a sentence why the node ended by itself, None while it runs or was stopped."""
        return None if self.popen is None or self.popen.poll() is None else str(self._why_it_ended())

    def format(self) -> None:
        """Write the storage of a new node once, under its name only when whole."""
        storage = self.folder / "log"
        if storage.exists():
            self._refuse_foreign(storage)
            return
        unfinished = self.folder / "log.unfinished"
        properties = self._write_properties("format.properties", unfinished)
        tool = ["kafka.tools.StorageTool", "format", "--ignore-formatted", "-t", self.cluster_id, "-c", str(properties)]
        with self.log_path.open("ab") as log:
            self._log_from = log.tell()
            code = subprocess.call([*self._java(), *tool], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        if code:
            raise ConfigurationError(
                f"the storage of Kafka's node {self.number} could not be written in {unfinished}: "
                f"{self._telling_line()} (log: {self.log_path})"
            )
        unfinished.replace(storage)

    def start(self) -> None:
        """Start the node again, as it was started at first, and return when it serves."""
        self.launch(**self._launch)
        self.wait_until_ready()

    def launch(self, *, detached: bool = False, keep_open: Sequence[int] = ()) -> None:
        """Start the node's Java without waiting; a `detached` one outlives us, any other dies with us."""
        self._launch = {"detached": detached, "keep_open": keep_open}
        properties = self._write_properties("server.properties", self.folder / "log")
        starter = subprocess.Popen if detached else leash.popen
        options = {"start_new_session": True} if detached else {}
        if self.log_path.exists() and self.log_path.stat().st_size > LARGEST_LOG_BYTES:
            self.log_path.replace(self.log_path.with_suffix(".log.1"))
        with self.log_path.open("ab") as log:
            self._log_from = log.tell()
            self.popen = starter(
                [*self._java(*self.launch_options), "kafka.Kafka", str(properties)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=tuple(keep_open),
                **options,
            )

    def wait_until_ready(self) -> None:
        """Return when the node serves; raise with the reason where it ends or is too slow."""
        deadline = time.monotonic() + READY_WITHIN_SECS
        while READY not in self._log_since_start():
            if not self.is_running:
                raise self._why_it_ended()
            if time.monotonic() > deadline:
                raise UnavailableError(
                    f"Kafka's node {self.number} was not ready within {READY_WITHIN_SECS:.0f} s: "
                    f"{self._telling_line()} (log: {self.log_path})"
                )
            time.sleep(_POLL_SECS)

    def stop(self, timeout_secs: float = 8.0) -> None:
        """Stop the node cleanly, and by force after `timeout_secs`."""
        self._end(signal.SIGTERM if timeout_secs > 0 else signal.SIGKILL, timeout_secs)

    def kill(self) -> None:
        """Kill the node with -9 and return when it is gone."""
        self._end(signal.SIGKILL, 0)

    def _end(self, number: signal.Signals, timeout_secs: float) -> None:
        if self.popen is None:
            return
        self.popen.send_signal(number)
        try:
            self.popen.wait(timeout_secs if timeout_secs > 0 else None)
        except subprocess.TimeoutExpired:
            self.popen.kill()
            self.popen.wait()
        self.popen = None

    def _java(self, *options: str) -> list[str]:
        scratch = self.folder / "tmp"  # native libraries are unpacked here; a killed node leaves its own behind
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir(parents=True)
        log4j = Path(__file__).with_name("log4j2.properties")
        return [
            *self.command[:1],
            *options,
            "-Djava.awt.headless=true",
            "-XX:-UsePerfData",
            "-XX:+ExitOnOutOfMemoryError",
            f"-Djava.io.tmpdir={scratch}",
            f"-Dlog4j2.configurationFile={log4j}",
            "-Dlog4j2.disableJmx=true",
            *self.command[1:],
        ]

    def _write_properties(self, name: str, storage: Path) -> Path:
        lines = {
            "process.roles": "broker,controller",
            "node.id": str(self.number),
            "listeners": f"PLAINTEXT://127.0.0.1:{self.port},CONTROLLER://127.0.0.1:{self.controller_port}",
            "advertised.listeners": f"PLAINTEXT://127.0.0.1:{self.port}",
            "controller.listener.names": "CONTROLLER",
            "controller.quorum.voters": self.voters,
            "log.dirs": str(storage),
            **self.settings,
        }
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / name
        path.write_text("".join(f"{key}={value}\n" for key, value in lines.items()))
        return path

    def _refuse_foreign(self, storage: Path) -> None:
        meta = storage / "meta.properties"
        text = meta.read_text() if meta.is_file() else ""
        if f"cluster.id={self.cluster_id}\n" not in text or f"node.id={self.number}\n" not in text:
            raise ConfigurationError(
                f"data folder {storage} belongs to another Kafka: {meta} does not name cluster {self.cluster_id} "
                f"and node {self.number}; name an empty or a new folder"
            )

    def _log_since_start(self) -> str:
        with self.log_path.open("rb") as log:
            log.seek(self._log_from)
            return log.read().decode(errors="replace")

    def _telling_line(self) -> str:
        """Return the first line that speaks of an error, else the last one."""
        lines = self._log_since_start().splitlines()
        telling = [line for line in lines if " ERROR " in line or " FATAL " in line or "Exception" in line]
        return (telling or lines[-1:] or ["nothing in its log"])[0]

    def _why_it_ended(self) -> ConfigurationError:
        said = self._log_since_start()
        where = f"(log: {self.log_path})"
        if "Address already in use" in said or "BindException" in said:
            return PortLostError(
                f"port {self.port} or {self.controller_port} on 127.0.0.1 was taken while Kafka started: "
                f"start it again {where}"
            )
        if "No space left on device" in said:
            return ConfigurationError(
                f"Kafka's node {self.number} ended because its disk is full: {self.folder} {where}"
            )
        code = self.popen.poll() if self.popen else None
        return ConfigurationError(f"Kafka's node {self.number} ended with code {code}: {self._telling_line()} {where}")
