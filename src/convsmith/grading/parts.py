"""Names of the protections that the keeper of a submission sets up."""

# No network and no shared memory; processes that end with the first; a root of its own with few files; a user
# of its own, for the superuser; a user without rights of its own, for others.
NETWORK, PROCESSES, FILES = "network", "processes", "files"
OTHER_USER, NAMESPACE_USER = "user", "userns"
