"""The release, also told to control and relays as `build_version`."""

VERSION = "0.1.0"
BUILD_VERSION = f"connet-trio/{VERSION}"
