"""A change of the configuration while the service runs: told, kept, made whole or not at all (:doc:`/change`)."""


class ChangeError(Exception):
    """A configuration has not been put in force; the words say why. Nothing has changed."""
