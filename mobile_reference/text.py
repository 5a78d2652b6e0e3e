"""Text that comes from outside, as it may be shown."""


def printable(text: str) -> str:
    """Return foreign text for one line: what cannot be printed, such as ESC or a line's end, is a space."""
    return "".join(c if c.isprintable() else " " for c in text).strip()
