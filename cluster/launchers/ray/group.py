"""All members of a job at one time: placement, actors, addresses, programs. A new group is made when an actor is lost."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from typing import Any

from cluster.launchers.ray.actor import Member
from cluster.launchers.ray.requirements import actor_options, bundles
from cluster.spec import JobSpec
from engine.core import environment
from trainers.rendezvous.group_secret import new_secret
from trainers.supervision.tf_config import tf_config

__all__ = ["Group", "Lost", "Slot"]


class Lost(Exception):
    """Actors of the group are gone: their process was killed, or their node. `names` says which."""

    def __init__(self, reasons: dict[str, str]) -> None:
        self.reasons = reasons
        super().__init__("; ".join(f"{name}: {reason}" for name, reason in reasons.items()))


@dataclass
class Slot:
    """One member: its actor, its environment, how far its log was read, its exit code (None while it runs)."""

    role: str
    index: int
    actor: Any = None
    env: dict[str, str] = field(default_factory=dict)
    where: dict[str, Any] = field(default_factory=dict)
    log_offset: int = 0
    exit_code: int | None = None

    @property
    def name(self) -> str:
        """Role and index, "worker-0"."""
        return f"{self.role}-{self.index}"


class Group:
    """The actors of a job.

    Args:
        spec: the job.
        placement: strategy of the placement group.
        run_id: the same in the whole group and another in each later one, so that a leftover of an old group is refused.
    """

    def __init__(self, spec: JobSpec, placement: str, run_id: str) -> None:
        from ray.util.placement_group import placement_group

        self.spec, self.run_id = spec, run_id
        self._secret: Any = None
        self.slots = [Slot(role, index) for role, index in spec.members()]
        self.placement_group = placement_group(bundles(spec), strategy=placement, name=f"fullpass-{spec.name}-{run_id}")

    def placed(self, timeout_s: float) -> bool:
        """Returns whether all resources are held, after at most `timeout_s` seconds."""
        held: bool = self.placement_group.wait(timeout_s)
        return held

    def start(self) -> None:
        """Makes the actors and starts every program.

        Raises:
            Lost: an actor died meanwhile.
        """
        import ray
        from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

        text = self.spec.to_json()
        for number, (slot, bundle) in enumerate(zip(self.slots, bundles(self.spec))):
            strategy = PlacementGroupSchedulingStrategy(self.placement_group, placement_group_bundle_index=number)
            actor = ray.remote(Member).options(scheduling_strategy=strategy, max_restarts=0, **actor_options(bundle))
            slot.actor = actor.remote(text, slot.role, slot.index)
        for slot, where in zip(self.slots, self._all("where")):
            slot.where = where
        self._address(self._all("free_ports", 2))
        # Through the object store: neither the job's description nor an actor's arguments show it.
        self._secret = ray.put(new_secret())
        refs = [slot.actor.start.remote(slot.env, self._secret) for slot in self.slots]
        self._get(refs)

    def restart(self, slot: Slot) -> None:
        """Starts one member's program again, under the same addresses."""
        slot.exit_code = None
        self._get([slot.actor.start.remote(slot.env, self._secret)])

    def _address(self, ports: list[list[int]]) -> None:
        hosts: dict[str, list[str]] = {}
        for slot, pair in zip(self.slots, ports):
            hosts.setdefault(slot.role, []).append(f"{slot.where['host']}:{pair[0]}")
        rendezvous = f"{self.slots[0].where['host']}:{ports[0][1]}"
        for slot in self.slots:
            slot.env = {
                environment.RENDEZVOUS.name: rendezvous,
                environment.RUN_ID.name: self.run_id,
                environment.INDEX.name: str(slot.index),
            }
            if len(self.slots) > 1 or self.spec.supervised:
                slot.env["TF_CONFIG"] = tf_config(hosts, slot.role, slot.index)

    def poll(self) -> tuple[dict[str, bytes], Lost | None]:
        """Returns what each member wrote since the last call, and the loss of actors if there is one; notes exit codes.

        A lost actor's last words are lost with it: its log is read twice a second while it lives.
        """
        polled, lost = self._gather([slot.actor.poll.remote(slot.log_offset) for slot in self.slots])
        texts = {}
        for slot in self.slots:
            if slot.name in polled:
                slot.exit_code, texts[slot.name] = polled[slot.name]
                slot.log_offset += len(texts[slot.name])
        return texts, lost

    def _all(self, method: str, *args: Any) -> list[Any]:
        results, lost = self._gather([getattr(slot.actor, method).remote(*args) for slot in self.slots])
        if lost is not None:
            raise lost
        return list(results.values())

    def _gather(self, refs: list[Any]) -> tuple[dict[str, Any], Lost | None]:
        import ray

        results, reasons = {}, {}
        for slot, ref in zip(self.slots, refs):
            try:
                results[slot.name] = ray.get(ref, timeout=120)
            except (ray.exceptions.RayActorError, ray.exceptions.GetTimeoutError) as error:
                reasons[slot.name] = " ".join(str(error).split())[:300]
        return results, Lost(reasons) if reasons else None

    def _get(self, refs: list[Any]) -> None:
        import ray

        try:
            ray.get(refs, timeout=120)
        except (ray.exceptions.RayActorError, ray.exceptions.GetTimeoutError) as error:
            raise Lost({"start": " ".join(str(error).split())[:300]}) from error

    def close(self, grace_s: float) -> None:
        """Stops every program, kills the actors, gives the resources back."""
        import ray
        from ray.util.placement_group import remove_placement_group

        stops = [slot.actor.leave.remote(grace_s) for slot in self.slots if slot.actor is not None]
        if stops:
            with contextlib.suppress(Exception):
                ray.wait(stops, num_returns=len(stops), timeout=grace_s + 5)
        for slot in self.slots:
            if slot.actor is not None:
                with contextlib.suppress(Exception):
                    ray.kill(slot.actor)
        with contextlib.suppress(Exception):
            remove_placement_group(self.placement_group)
