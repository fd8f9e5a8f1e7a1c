"""Turns a pod's completion index into its place in a TensorFlow cluster and becomes the program: `python -m cluster.members.place WORDS...`

Reads FULLPASS_CLUSTER (JSON: role → addresses, in the order of ranks) and FULLPASS_INDEX; sets TF_CONFIG.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence

from engine.core.environment import CLUSTER, INDEX
from engine.core.errors import ConfigError

__all__ = ["main", "place"]


def place(addresses: Mapping[str, Sequence[str]], index: int) -> tuple[str, int]:
    """Returns (role, index within the role) of the pod with this index over all roles.

    Raises:
        ConfigError: there are not so many pods.
    """
    left = index
    for role, members in addresses.items():
        if left < len(members):
            return role, left
        left -= len(members)
    raise ConfigError(f"{INDEX.name} = {index}, but {CLUSTER.name} has {index - left} members")


def main(words: Sequence[str]) -> None:
    """Replaces this process by the program, with its TF_CONFIG."""
    from trainers.supervision.tf_config import tf_config

    addresses = json.loads(os.environ[CLUSTER.name])
    role, index = place(addresses, int(os.environ[INDEX.name]))
    os.environ["TF_CONFIG"] = tf_config(addresses, role, index)
    os.execvp(words[0], list(words))  # noqa: S606 - the member's own command takes this process's place


if __name__ == "__main__":
    main(sys.argv[1:])
