"""A network in canonical notation."""

from convsmith.net.notation import parse


def format_net(net: str) -> str:
    """A net in the notation's canonical form, which means the same and does not change when formatted again.

    Raises:
        NotationError: The notation cannot be read.

    Example:
        >>> import convsmith as cs
        >>> cs.format_net("C16:s1  C32:k3:s2/G F10")
        'C16 C32:s2 / G F10'
    """
    return str(parse(net))
