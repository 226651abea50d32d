"""What a hole is printed as: the part of Go's text templates that netpunch's users need.

The six fields, `{{.RemoteIP}}` and so on, in literal text, with `{{- ` and ` -}}` that trim white space. No other
action of Go's is understood; a template with one is refused before anything is done.
"""

import attrs

from connet_trio.punch.peer import OpenHole

DEFAULT_TEMPLATE = (
    "LADDR/LHOST/LPORT/RADDR/RHOST/RPORT: "
    "{{.LocalAddr}} {{.LocalIP}} {{.LocalPort}} {{.RemoteAddr}} {{.RemoteIP}} {{.RemotePort}}\n"
)

FIELDS = ("LocalAddr", "LocalIP", "LocalPort", "RemoteAddr", "RemoteIP", "RemotePort")

_WHITE = " \t\r\n"


@attrs.frozen
class Template:
    """Text with fields in it."""

    parts: tuple[str, ...]
    """Literal text and fields in turn, literal text first and last."""

    @classmethod
    def parse(cls, text: str) -> "Template":
        """Read a template.

        Raises:
          ValueError: it holds something else than fields; the text says what.
        """
        parts = [""]
        rest = text
        while True:
            literal, opening, rest = rest.partition("{{")
            parts[-1] += literal
            if not opening:
                return cls(tuple(parts))
            action, closing, rest = rest.partition("}}")
            if not closing:
                raise ValueError("an action of the template is not closed, expected }}")
            if action.startswith("-") and action[1:2] in tuple(_WHITE):
                action, parts[-1] = action[1:], parts[-1].rstrip(_WHITE)
            if action.endswith("-") and action[-2:-1] in tuple(_WHITE):
                action, rest = action[:-1], rest.lstrip(_WHITE)
            parts += [_field(action.strip(_WHITE)), ""]

    def expand(self, hole: OpenHole) -> str:
        """The text for one hole. A local port 0 stays 0, and no local host is `n/a`, as netpunch has it."""
        values = {
            "LocalAddr": str(hole.local),
            "LocalIP": hole.local.host or "n/a",
            "LocalPort": str(hole.local.port),
            "RemoteAddr": str(hole.remote),
            "RemoteIP": str(hole.remote.address),
            "RemotePort": str(hole.remote.port),
        }
        return "".join(values[part] if number % 2 else part for number, part in enumerate(self.parts))


def _field(action: str) -> str:
    if action.removeprefix(".") in FIELDS and action.startswith("."):
        return action[1:]
    expected = ", ".join(f"{{{{.{field}}}}}" for field in FIELDS)
    raise ValueError(f"the template has {{{{{action}}}}}, expected one of {expected}")
