"""What has arrived and not been dealt with yet, as runs."""

from collections import deque
from collections.abc import Iterable

from connet_trio.quic.datagram_run import DatagramRun
from connet_trio.quic.network_path import Datagram, NetworkPath


class Arrivals:
    """What is left of a batch that has been received, as runs."""

    def __init__(self, batch: Iterable[Datagram | DatagramRun]) -> None:
        """Datagrams that stand alone are runs of one; those of one size in a row become one, as the kernel makes it."""
        self._runs: deque[DatagramRun] = deque()
        row: list[bytes] = []
        row_path: NetworkPath | None = None
        for item in batch:
            if isinstance(item, DatagramRun):
                self._end_row(row, row_path)
                self._runs.append(item)
                continue
            data, path = item
            if not data:
                continue
            if row and (path is not row_path or len(data) != len(row[0])):
                self._end_row(row, row_path)
            row.append(data)
            row_path = path
        self._end_row(row, row_path)

    def _end_row(self, row: list[bytes], path: NetworkPath | None) -> None:
        if row and path is not None:
            self._runs.append(DatagramRun(row[0] if len(row) == 1 else b"".join(row), len(row[0]), path))
            row.clear()

    def __bool__(self) -> bool:
        return bool(self._runs)

    @property
    def path(self) -> NetworkPath:
        """Of the next datagram, which exists."""
        return self._runs[0].path

    @property
    def next_bytes(self) -> memoryview:
        """The run that the next datagram begins."""
        return self._runs[0].data

    def on_one_path(self) -> list[DatagramRun]:
        """The next runs, as far as they came by this very path."""
        path = self.path
        runs = []
        for run in self._runs:
            if run.path is not path:
                break
            runs.append(run)
        return runs

    def drop(self, count: int) -> int:
        """Done with so many datagrams, at least one; returns the first byte of the last of them."""
        while True:
            run = self._runs.popleft()
            held = len(run)
            if held > count:
                self._runs.appendleft(run.without(count))
            if held >= count:
                return run.data[(count - 1) * run.size]
            count -= held

    def pop(self) -> Datagram:
        """Take the next one."""
        datagram = next(iter(self._runs[0]))
        self.drop(1)
        return datagram
