"""How the bridge is: for the probes, for Prometheus, and for whoever asks at 3 a.m."""

from __future__ import annotations

import asyncio
from typing import Any

from bridge import __version__
from bridge.deliver import Health as SinkHealth
from bridge.encode import iso
from bridge.followed import Followed
from bridge.lane import Lane
from bridge.parts import Bridge
from bridge.web.server import Health, NotReady


def health(bridge: Bridge) -> Health:
    """Say what keeps the bridge from being ready: sources only, never a sink's state."""
    found = [NotReady(what=f"source {name}", why=why) for name, why in bridge.parked.items()]
    found += [
        NotReady(what=f"source {name}", why=watch.reason)
        for name, watch in bridge.watches.items()
        if not watch.up and name not in bridge.parked
    ]
    return Health(not_ready=tuple(found))


def status(bridge: Bridge, *, now: float) -> dict[str, Any]:
    """Return everything as JSON: sources with their open jobs, sinks with what waits for them."""
    return {
        "bridge": bridge.config.name,
        "version": __version__,
        "sources": {
            name: {
                "up": bool(watch.up) and name not in bridge.parked,
                "reason": bridge.parked.get(name, watch.reason) or None,
                "jobs_open": len(bridge.followings[name].jobs),
                "jobs": [_job(followed) for followed in bridge.followings[name].jobs.values()][:200],
            }
            for name, watch in bridge.watches.items()
        },
        "sinks": {
            name: {
                "state": delivery.health.name.lower(),
                "reason": delivery.reason or None,
                "since": iso(delivery.since),
                "destination": bridge.config.sinks[name].destination,
                "waiting_bytes": delivery.lane.bytes,
                "lag_seconds": lag(bridge, name, now=now),
                "jobs_behind": sum(name in followed.lagging for followed in _open(bridge)),
            }
            for name, delivery in bridge.deliveries.items()
        },
    }


def observe(bridge: Bridge, *, now: float) -> None:
    """Bring the gauges up to date that nothing else sets."""
    for name, lane in bridge.lanes.items():
        bridge.observer.gauge("lane_bytes", lane.bytes, sink=name)
        bridge.observer.gauge("sink_lag_seconds", lag(bridge, name, now=now), sink=name)


def lag(bridge: Bridge, sink: str, *, now: float) -> float:
    """Return for how many seconds `sink` has not settled the oldest thing that it lacks, 0 for none.

    By the bridge's own clock throughout: AWX's may differ by minutes.
    """
    since = bridge.lanes[sink].waiting_since()
    waiting = 0.0 if since is None else asyncio.get_running_loop().time() - since
    behind = (now - job.lagging[sink] for job in _open(bridge) if sink in job.lagging)
    return round(max(0.0, waiting, *behind), 3)


def healthy(bridge: Bridge) -> list[Lane]:
    """Return the lanes whose sink takes events."""
    return [d.lane for d in bridge.deliveries.values() if d.health < SinkHealth.DOWN]


def _open(bridge: Bridge) -> list[Followed]:
    return [job for following in bridge.followings.values() for job in following.jobs.values()]


def _job(followed: Followed) -> dict[str, Any]:
    job = followed.record.job
    return {
        "job": str(job.key),
        "name": job.name,
        "status": job.status,
        "released": followed.released,
        "lagging": sorted(followed.lagging),
    }
