"""What this project holds itself to, line by line, and the tests that show it.

A test says which lines it shows: `@pytest.mark.reliability(line=9)`. `pytest -m 'reliability(line=9)'` runs those of
one line, and `python -m tests.reliability` prints the whole table.
"""

import ast
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

TESTS = Path(__file__).parent
MARK = "reliability"

LINES = {
    1: "every pair of NATs is connected, directly wherever mappings do not depend on the destination",
    2: "two clients behind one NAT that does not hairpin meet inside",
    3: "the relay serves within four round trips, the direct path within two seconds",
    4: "a dead direct path is passed over, within seconds between our own",
    5: "a NAT that forgets its mappings breaks no stream",
    6: "bulk passes whatever the path carries",
    7: "most of many candidate addresses may be dead",
    8: "streams arrive whole over links that lose, reorder and repeat",
    9: "control is killed, in the middle of a write too, and knows everybody again",
    10: "a relay is killed and used again, or another one",
    11: "a killed client expires, a stopped one is gone at once",
    12: "a peer that dies in silence is noticed and forgotten",
    13: "a thousand abandoned logins leave nothing",
    14: "a thousand clients of a restarted control come back spread out",
    15: "a stop drains, says goodbye and frees everything; a second signal does not wait",
    16: "a store that suffers costs at most the record that suffered",
    17: "a process with few files refuses, serves and recovers",
    18: "a soak leaves memory, files, tasks and connections as they were",
    19: "a slow reader costs bounded memory and nobody else's speed",
    20: "a writer to a dead peer holds a megabyte and what is in flight",
    21: "a flood of streams costs little memory",
    22: "floods of hostile frames are borne or end their connection",
    23: "a stranger may send little, and not for long",
    24: "an address that may be forged gets three times what it sent, at most",
    25: "tokens are looked up by digest, and are in no log, status, error or representation",
    26: "every request is judged by the restrictions of its token, also after they change",
    27: "no certificate but the right one is accepted, directly or by a relay",
    28: "a relay sees no plaintext of an encrypted stream",
    29: "sealed records cannot be replayed or altered",
    30: "no path leaves the root of a file destination",
    31: "HTTP that two could read differently is not forwarded",
    32: "what others say of themselves never reaches a log raw",
    33: "every decoder of untrusted bytes raises its own error and nothing else",
    34: "whatever is awaited may be cancelled anywhere",
}
"""Each line's number, and what it is about."""

WAITING = {
    28: "relayed streams are not encrypted yet",
    29: "relayed streams are not encrypted yet",
    30: "there are no file destinations yet",
    31: "there is no HTTP proxying yet",
}
"""Lines that wait for a feature; one of them that has tests all the same waits no longer."""


def table() -> Mapping[int, list[str]]:
    """The tests of each line that has some, as `file::test`, in the order of files."""
    tests: dict[int, list[str]] = defaultdict(list)
    for file in sorted(TESTS.rglob("test_*.py")):
        for name, line in _marked(ast.parse(file.read_text("utf-8"))):
            tests[line].append(f"{file.relative_to(TESTS.parent)}::{name}")
    return tests


def _marked(module: ast.Module) -> Iterator[tuple[str, int]]:
    for node in ast.walk(module):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            for decorator in node.decorator_list:
                line = _line(decorator)
                if line is not None:
                    yield node.name, line


def _line(decorator: ast.expr) -> int | None:
    match decorator:
        case ast.Call(
            func=ast.Attribute(attr=name), keywords=[ast.keyword(arg="line", value=ast.Constant(value=int(line)))]
        ) if name == MARK:
            return line
    return None


def main() -> None:
    """Print every line with its tests."""
    tests = table()
    for line, title in LINES.items():
        waiting = f"  (waits: {WAITING[line]})" if line in WAITING and line not in tests else ""
        sys.stdout.write(f"{line:3}  {title}{waiting}\n")
        for test in tests.get(line, ()):
            sys.stdout.write(f"       {test}\n")


if __name__ == "__main__":
    main()
