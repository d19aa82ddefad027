"""Format notation."""

from convsmith.net.notation import parse


def format_net(net: str) -> str:
    """Return notation in its canonical form. Formatting is idempotent.

    Raises:
        NotationError: The notation is invalid.

    Example:
        >>> import convsmith as cs
        >>> cs.format_net("C16:s1  C32:k3:s2/G F10")
        'C16 C32:s2 / G F10'
    """
    return str(parse(net))
