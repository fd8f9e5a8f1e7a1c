"""A real TFX in a Debian 13 root of its own, since its wheels need a newer C library than Debian 12 has."""
