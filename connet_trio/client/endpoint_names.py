"""What a source or destination may be called.

On the wire a name is any text, and two names are one when their bytes are equal (protocol section 1). What is refused
or warned of here is what somebody who writes a name by hand, or reads it in a log, would stumble over.
"""

import unicodedata

from connet_trio.engine.admission import MAX_ENDPOINT_NAME_BYTES

_CONTROLS = frozenset({"Cc", "Zl", "Zp"})
"""Unicode categories: control characters, and what else ends a line."""
_FORMATS = "Cf"
"""Takes no room on the screen: zero-width spaces, direction marks."""
_BLANKS = _CONTROLS | {_FORMATS, "Zs"}


def check_endpoint_name(name: str) -> None:
    """Do nothing for a name that an endpoint may have.

    Raises:
      ValueError: it is empty or blank, too long, or has characters that no name should; the text says which.
    """
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        raise ValueError("a name that is not Unicode text, expected one that UTF-8 can write") from None
    if not 0 < size <= MAX_ENDPOINT_NAME_BYTES:
        raise ValueError(f"a name of {size} bytes, expected 1 to {MAX_ENDPOINT_NAME_BYTES}")
    control = next((char for char in name if unicodedata.category(char) in _CONTROLS), None)
    if control is not None:
        raise ValueError(f"a name with the control character U+{ord(control):04X}, expected printable text")
    if all(unicodedata.category(char) in _BLANKS for char in name):
        raise ValueError("a blank name, expected more than spaces")


def endpoint_name_warnings(name: str) -> tuple[str, ...]:
    """Why a peer may never meet a name that is allowed, a sentence each: what differs in bytes and not to the eye."""
    warnings = []
    if not unicodedata.is_normalized("NFC", name):
        warnings.append(
            "the name has accents or the like as characters of their own (it is not in Unicode's composed form, NFC); "
            "a peer that writes it composed, as keyboards do, never meets it"
        )
    if name != name.strip():
        warnings.append("the name begins or ends with a space; a peer that leaves it out never meets it")
    invisible = next((char for char in name if unicodedata.category(char) == _FORMATS), None)
    if invisible is not None:
        warnings.append(
            f"the name has the invisible character U+{ord(invisible):04X}; a peer that leaves it out never meets it"
        )
    return tuple(warnings)
