"""The handlers of AWX's API: what each path below `/api/v2/` answers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from http import HTTPStatus
from typing import Any, Final

from aiohttp import web

from simulator import answers, events, lists, stdout, tree
from simulator.access import Access
from simulator.answers import ApiError
from simulator.fields import (
    EVENT_MODELS,
    JOB_MODELS,
    LABEL_MODEL,
    NODE_MODEL,
    NOTIFICATION_MODEL,
    SUMMARY_MODEL,
    UNIFIED_MODEL,
    Model,
)
from simulator.filters import QueryError
from simulator.job import Job, Node
from simulator.paging import PageError
from simulator.script import COLLECTIONS, EVENT_TYPES, iso
from simulator.world import World

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_UNIFIED: Final = frozenset(COLLECTIONS) - {"workflow_approval"}
"""What `unified_jobs/` shows: everything but approvals (UnifiedJobAccess in awx/main/access.py)."""
_WITH_STDOUT: Final = ("job", "project_update", "inventory_update", "ad_hoc_command")
_WITH_LABELS: Final = ("job", "workflow_job")


class Api:
    """AWX's API over a world, for those whom `access` lets in."""

    def __init__(self, world: World, access: Access) -> None:
        """Answer from this world."""
        self.world = world
        self.access = access

    def routes(self) -> Iterator[tuple[str, Handler]]:
        """Yield the paths below the API's root with their handlers."""
        yield "/ping/", self.ping
        yield "/me/", self.me
        yield "/config/", self.config
        yield "/unified_jobs/", self._list(frozenset(_UNIFIED), UNIFIED_MODEL)
        for kind, path in COLLECTIONS.items():
            yield f"/{path}/", self._list(frozenset({kind}), JOB_MODELS[kind])
            yield f"/{path}/{{id:\\d+}}/", self._of_job(kind, self._detail)
            yield f"/{path}/{{id:\\d+}}/notifications/", self._of_job(kind, self._notifications)
        for kind, event_type in EVENT_TYPES.items():
            name = "job_events" if kind == "job" else "events"
            yield f"/{COLLECTIONS[kind]}/{{id:\\d+}}/{name}/", self._of_job(kind, self._events)
            if kind in {"job", "ad_hoc_command"}:
                yield f"/{event_type}s/{{id:\\d+}}/", self._event(event_type)
        for kind in _WITH_STDOUT:
            yield f"/{COLLECTIONS[kind]}/{{id:\\d+}}/stdout/", self._stdout(kind)
        for kind in _WITH_LABELS:
            yield f"/{COLLECTIONS[kind]}/{{id:\\d+}}/labels/", self._of_job(kind, self._labels)
        yield "/jobs/{id:\\d+}/job_host_summaries/", self._of_job("job", self._host_summaries)
        yield "/jobs/{id:\\d+}/job_events/children_summary/", self._of_job("job", self._children)
        yield "/workflow_jobs/{id:\\d+}/workflow_nodes/", self._of_job("workflow_job", self._nodes)

    async def root(self, _request: web.Request) -> web.Response:
        """Answer `/api/v2/`: the paths of the API."""
        names = ("ping", "config", "me", "unified_jobs", *COLLECTIONS.values())
        return answers.json({name: f"/api/v2/{name}/" for name in names})

    async def ping(self, _request: web.Request) -> web.Response:
        """Answer `ping/`, which needs no credentials."""
        node = {"node": "awx-1", "node_type": "hybrid", "uuid": "5f22ae7d-cce3-4550-b7ce-3035f835c081"}
        instance = {**node, "heartbeat": iso(self.world.now()), "capacity": 220, "version": "24.6.1"}
        groups = [
            {"name": name, "capacity": 220, "instances": ["awx-1"]} for name in ("controlplane", "default")
        ]
        body = {
            "ha": False,
            "version": "24.6.1",
            "active_node": "awx-1",
            "install_uuid": self.world.install_uuid,
        }
        return answers.json({**body, "instances": [instance], "instance_groups": groups})

    async def me(self, request: web.Request) -> web.Response:
        """Answer `me/`: a list of one user."""
        name = self.access.user(request)
        reader = name in self.access.readers
        names = (
            "teams organizations admin_of_organizations projects credentials roles activity_stream "
            "access_list tokens authorized_tokens personal_tokens"
        )
        user = {
            "id": 1,
            "type": "user",
            "url": "/api/v2/users/1/",
            "related": {each: f"/api/v2/users/1/{each}/" for each in names.split()},
            "summary_fields": {"user_capabilities": {"edit": True, "delete": False}},
            "created": iso(self.world.start),
            "modified": None,
            "username": name,
            "first_name": "",
            "last_name": "",
            "email": f"{name}@localhost",
            "is_superuser": reader,
            "is_system_auditor": False,
            "password": "$encrypted$",
            "ldap_dn": "",
            "last_login": None,
            "external_account": None,
            "auth": [],
        }
        return answers.json({"count": 1, "next": None, "previous": None, "results": [user]})

    async def config(self, request: web.Request) -> web.Response:
        """Answer `config/` in short."""
        self.access.user(request)
        licence = {
            "license_type": "open",
            "valid_key": True,
            "subscription_name": "OPEN",
            "product_name": "AWX",
        }
        return answers.json(
            {
                "time_zone": "UTC",
                "license_info": licence,
                "version": "24.6.1",
                "eula": "",
                "analytics_status": "off",
            }
        )

    def _list(self, kinds: frozenset[str], model: Model) -> Handler:
        async def handle(request: web.Request) -> web.Response:
            now = self.world.now()
            wanted = kinds
            if request.query.get("type"):
                wanted = kinds & frozenset(request.query["type"].split(","))
            found = self.world.visible(wanted, now) if self._reads(request) else []
            return _answered(lists.jobs(found, now), model, request)

        return handle

    def _of_job(self, kind: str, view: Callable[[Job, float, web.Request], web.Response]) -> Handler:
        async def handle(request: web.Request) -> web.Response:
            return view(self._job(kind, request), self.world.now(), request)

        return handle

    def _stdout(self, kind: str) -> Handler:
        async def handle(request: web.Request) -> web.Response:
            try:
                job = self._job(kind, request)
            except ApiError as error:
                if error.status != HTTPStatus.NOT_FOUND or request.query.get("format") not in {"txt", "ansi"}:
                    raise
                text = f"{{'detail': ErrorDetail(string='{error.detail}', code='not_found')}}"
                return web.Response(
                    text=text, status=error.status, content_type="text/plain", charset="utf-8"
                )
            return stdout.answer(job, self.world.now(), request)

        return handle

    def _event(self, event_type: str) -> Handler:
        async def handle(request: web.Request) -> web.Response:
            now = self.world.now()
            if not self._reads(request):
                raise answers.forbidden()
            found = self.world.event(event_type, int(request.match_info["id"]), now)
            if found is None:
                kind = next(kind for kind, name in EVENT_TYPES.items() if name == event_type)
                raise answers.missing(EVENT_MODELS[kind].name)
            job, position = found
            return answers.json(job.row(position, job.event_summary(now), settled=job.settled(now)))

        return handle

    def _job(self, kind: str, request: web.Request) -> Job:
        reads = self._reads(request)
        job = self.world.find(kind, int(request.match_info["id"]), self.world.now())
        if job is None:
            raise answers.missing(JOB_MODELS[kind].name)
        if not reads:
            raise answers.forbidden()
        return job

    def _reads(self, request: web.Request) -> bool:
        return self.access.user(request) in self.access.readers

    def _detail(self, job: Job, now: float, _request: web.Request) -> web.Response:
        return answers.json(job.detail(now))

    def _events(self, job: Job, now: float, request: web.Request) -> web.Response:
        return _refusing(lambda: events.answer(job, now, path=request.path, query=_query(request)))

    def _children(self, job: Job, now: float, _request: web.Request) -> web.Response:
        return answers.json(tree.children_summary(job, now))

    def _host_summaries(self, job: Job, now: float, request: web.Request) -> web.Response:
        return _answered(lists.rows(job.host_summaries(now)), SUMMARY_MODEL, request)

    def _nodes(self, job: Job, now: float, request: web.Request) -> web.Response:
        return _answered(lists.rows([_node(node, job, now) for node in job.nodes]), NODE_MODEL, request)

    def _notifications(self, job: Job, _now: float, request: web.Request) -> web.Response:
        return _answered(lists.rows([dict(row) for row in job.notifications]), NOTIFICATION_MODEL, request)

    def _labels(self, job: Job, _now: float, request: web.Request) -> web.Response:
        labels = job.body["summary_fields"].get("labels", {"results": []})["results"]
        return _answered(lists.rows([_label(label, job) for label in labels]), LABEL_MODEL, request)


def _query(request: web.Request) -> Sequence[tuple[str, str]]:
    return [(key, value) for key, value in request.query.items() if key != "format"]


def _answered(entries: Sequence[lists.Entry], model: Model, request: web.Request) -> web.Response:
    return _refusing(lambda: lists.answer(entries, model, path=request.path, query=_query(request)))


def _refusing(make: Callable[[], bytes]) -> web.Response:
    try:
        return answers.encoded(make())
    except QueryError as error:
        raise ApiError(error.status, str(error)) from error
    except PageError as error:
        raise ApiError(HTTPStatus.NOT_FOUND, "Invalid page.") from error


def _node(node: Node, workflow: Job, now: float) -> dict[str, Any]:
    related, summary = dict(node.row["related"]), dict(node.row["summary_fields"])
    summary["workflow_job"] = {name: workflow.summary(now)[name] for name in ("id", "name", "description")}
    row = {"created": workflow.body["created"], "modified": workflow.body["modified"], **node.row}
    job = node.job
    if job is not None and job.exists(now):
        row["job"] = job.id
        related["job"] = job.body["url"]
        summary["job"] = job.summary(now) | {"type": job.kind}
    return {**row, "related": related, "summary_fields": summary}


def _label(label: dict[str, Any], job: Job) -> dict[str, Any]:
    users = dict.fromkeys(("created_by", "modified_by"), "/api/v2/users/1/")
    organization = job.body["summary_fields"].get("organization", {"id": 2})
    user = job.body["summary_fields"].get("created_by", {})
    return {
        "id": label["id"],
        "type": "label",
        "url": f"/api/v2/labels/{label['id']}/",
        "related": {**users, "organization": f"/api/v2/organizations/{organization['id']}/"},
        "summary_fields": {"organization": organization, "created_by": user, "modified_by": user},
        "created": job.body["created"],
        "modified": job.body["modified"],
        "name": label["name"],
        "organization": organization["id"],
    }
