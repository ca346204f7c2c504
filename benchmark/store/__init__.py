"""The store of trained cells: a folder, local or remote, addressed by the hash of what determines a result."""

AFFECTS_RESULTS = False
