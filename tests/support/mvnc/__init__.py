"""A stand-in for the NCSDK's package of this name, version 1; see mvncapi."""
