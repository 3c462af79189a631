"""Apache Kafka itself, run by us: KRaft, one node or three, ready in about two seconds."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import uuid
from base64 import urlsafe_b64encode
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from broker import classes, jars, java, ports, settings
from broker.lock import hold
from broker.node import Node, PortLostError
from schemas.errors import ConfigurationError, WattlineError

MARKER = "wattline-kafka.json"
LOCK = "lock"
PORT_TRIES = 3


class EmbeddedKafka:
    """Run Kafka in `data_dir` for as long as the `with` block lasts.

    `port` is that of the (first) node's clients, free ones are taken where it is None; the log lies beside
    the data folder, as `<data_dir>.log`. `nodes=3` is the cluster for failure tests (replication 3,
    min.insync 2) whose `nodes[i]` can be stopped, killed and started one by one.

    Raises ConfigurationError for a taken port, a data folder that is not ours or is in use, and
    SetupError for a missing Java or a missing or damaged jar, each with the path of the log.
    """

    def __init__(
        self,
        data_dir: str | os.PathLike,
        port: int | None = None,
        nodes: int = 1,
        *,
        quick_start: bool = False,
        launch_options: Sequence[str] = (),
    ) -> None:
        self.folder = Path(data_dir).resolve()
        self.port = port
        self.size = nodes
        self.java_options = (*settings.HEAP, *(settings.QUICK_START if quick_start else ()))
        self.launch_options = launch_options
        self.nodes: list[Node] = []
        self._lock = -1

    @property
    def bootstrap(self) -> str:
        """Return the address for clients, `host:port` of each node, with commas."""
        return ",".join(f"127.0.0.1:{node.port}" for node in self.nodes)

    @property
    def log_path(self) -> Path:
        """Return the path of the (first) node's log."""
        return self._log_of(1)

    @property
    def ended(self) -> str | None:
        """Return in a sentence why a node ended by itself (a full disk, no memory), None while all is well."""
        return next((node.ended for node in self.nodes if node.ended), None)

    def __enter__(self) -> EmbeddedKafka:
        self.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()

    def start(self, *, detached: bool = False) -> None:
        """Start every node and return when all serve; `detached` nodes outlive this process."""
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        for tries_left in reversed(range(PORT_TRIES)):
            try:
                self._start(detached)
                return
            except BaseException as error:
                self.stop(timeout_secs=0)
                if isinstance(error, PortLostError) and self.port is None and tries_left:
                    continue
                if isinstance(error, WattlineError):
                    self._log_refusal(error)
                raise

    def stop(self, timeout_secs: float = 8.0) -> None:
        """Stop every node, cleanly within `timeout_secs`, else by force; never raises for one that is gone."""
        # All at once: the last one alone would wait minutes for a quorum that never comes back.
        self._at_once(lambda node: node.stop(timeout_secs))
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def _start(self, detached: bool) -> None:
        runtime = java.find()
        classpath = jars.verified()
        if self.port is not None:
            ports.refuse_taken(self.port)
        cluster_id = self._claim()
        # An archive cannot be made from one that is in use.
        archive = [] if self.launch_options else classes.options(runtime)
        self.nodes = self._make_nodes(cluster_id, [str(runtime.program), *self.java_options, *archive], classpath)
        self._at_once(Node.format)
        for node in self.nodes:
            node.launch(detached=detached, keep_open=(self._lock,))
        self._at_once(Node.wait_until_ready)

    def _at_once(self, act: Callable[[Node], None]) -> None:
        """Act on every node at the same time; on a single one right here, where a Ctrl-C arrives at once."""
        if len(self.nodes) < 2:
            for node in self.nodes:
                act(node)
            return
        with ThreadPoolExecutor(len(self.nodes)) as pool:
            list(pool.map(act, self.nodes))

    def _make_nodes(self, cluster_id: str, command: list[str], classpath: Sequence[Path]) -> list[Node]:
        free = [port for port in ports.free(2 * self.size + 1) if port != self.port]
        if self.port is not None:
            free[0] = self.port
        voters = ",".join(f"{i + 1}@127.0.0.1:{free[self.size + i]}" for i in range(self.size))
        return [
            Node(
                number=i + 1,
                port=free[i],
                controller_port=free[self.size + i],
                voters=voters,
                cluster_id=cluster_id,
                folder=self.folder / f"node-{i + 1}",
                log_path=self._log_of(i + 1),
                command=[*command, "-cp", os.pathsep.join(map(str, classpath))],
                launch_options=self.launch_options,
                settings={**settings.BROKER, **settings.replicated(self.size)},
            )
            for i in range(self.size)
        ]

    def _log_of(self, number: int) -> Path:
        return self.folder.with_name(f"{self.folder.name}{f'-{number}' if self.size > 1 else ''}.log")

    def _log_refusal(self, error: WattlineError) -> None:
        """Append why nothing was started to the log, and its path to the sentence."""
        with contextlib.suppress(OSError), self.log_path.open("a") as log:
            log.write(f"not started: {error}\n")
        if str(self.log_path) not in str(error):
            error.args = (f"{error} (log: {self.log_path})", *error.args[1:])

    def _claim(self) -> str:
        """Lock the folder and return its cluster id; an empty folder becomes ours, any other is refused."""
        marker = self.folder / MARKER
        self.folder.mkdir(parents=True, exist_ok=True)
        foreign = sorted(path.name for path in self.folder.iterdir() if path.name != LOCK)
        if foreign and not marker.is_file():
            raise ConfigurationError(
                f"data folder {self.folder} was not made by Wattline's Kafka (it holds {foreign[0]}): "
                f"name an empty or a new folder"
            )
        self._lock = _lock(self.folder)
        return self._recognised(marker) if marker.is_file() else self._mark(marker)

    def _mark(self, marker: Path) -> str:
        # A leading "-", one in 64, would be taken for an option by Kafka's own tools.
        cluster_id = "k" + urlsafe_b64encode(uuid.uuid4().bytes).rstrip(b"=").decode()[1:]
        made = {"kafka": settings.KAFKA_VERSION, "cluster_id": cluster_id, "nodes": self.size}
        whole = self.folder.with_name(f".{self.folder.name}-{cluster_id}")
        whole.write_text(json.dumps(made))
        whole.replace(marker)
        return cluster_id

    def _recognised(self, marker: Path) -> str:
        try:
            made = json.loads(marker.read_text())
            cluster_id, nodes = made["cluster_id"], made["nodes"]
        except (ValueError, KeyError, TypeError) as error:
            raise ConfigurationError(f"{marker} cannot be read ({error}): name an empty or a new folder") from error
        if nodes != self.size:
            raise ConfigurationError(
                f"data folder {self.folder} belongs to a Kafka of {nodes} node(s), asked for is {self.size}: "
                f"name an empty or a new folder"
            )
        return cluster_id

    def delete(self) -> None:
        """Delete data folder and logs of a stopped Kafka."""
        shutil.rmtree(self.folder, ignore_errors=True)
        for number in range(1, self.size + 1):
            self._log_of(number).unlink(missing_ok=True)
            self._log_of(number).with_suffix(".log.1").unlink(missing_ok=True)


def _lock(folder: Path) -> int:
    """Return an open file whose lock the nodes inherit, so that it is held for as long as one of them lives."""
    file = hold(folder / LOCK)
    if file is None:
        raise ConfigurationError(
            f"data folder {folder} is in use by a running Kafka: stop that one or name another folder"
        )
    return file
