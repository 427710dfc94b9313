import json
import re

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.contract import ALL_FIELDS, EVENT_TYPES
from bridge.render import plain_text, slack_message, tell
from tests.support.samples import event_fields, status_fields
from tests.support.slack_rules import ALL_BLOCKS, message_problems, texts_of

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=60),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=8,
)
nasty = st.sampled_from(
    [
        "<!channel>",
        "@here",
        "&" * 5000,
        "<" * 400,
        "```" * 900,
        "\x1b[31mred\x1b[0m",
        "a" * 9000,
        "\n" * 50,
        "",
        "|",
    ]
)
values = (
    anything
    | nasty
    | st.lists(st.fixed_dictionaries({"host": nasty, "task": nasty, "message": nasty}), max_size=20)
)
names = st.sampled_from([field.name for field in ALL_FIELDS if field.name != "type"])
types = st.sampled_from(EVENT_TYPES) | st.sampled_from(["awx.job.{x}", "bridge.{other}", ""]) | anything


def parts(message):
    return msgspec.to_builtins(message)


def texts(message):
    return "\n".join([*texts_of(message.blocks), *texts_of(message.attachments)])


@given(st.dictionaries(names, values), types)
def test_any_fields_give_a_message_that_slack_takes(fields, kind):
    message = slack_message({**fields, "type": kind})
    assert message_problems(parts(message)) == []
    assert message.text.strip()
    assert len(message.text) + len(texts(message)) < 12_000
    json.dumps(parts(message))


@given(st.dictionaries(names, values), types)
def test_nothing_in_an_event_pings_or_breaks_out(fields, kind):
    message = slack_message({**fields, "type": kind})
    whole = message.text + texts(message)
    links = re.findall(r"<([^>]*)>", whole)
    assert all(link.startswith(("http://", "https://")) for link in links)
    assert not re.search(r"@(here|channel|everyone)\b", whole, re.IGNORECASE)
    assert not re.search(r"&(?!amp;|lt;|gt;)", whole.replace("".join(links), ""))


@given(st.dictionaries(names, values), types)
def test_plain_text_runs_nothing_in_a_terminal(fields, kind):
    text = plain_text({**fields, "type": kind})
    assert text.strip()
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", text)


def test_the_worst_case_stays_below_slacks_silent_limit():
    worst = {field.name: "&" * 30_000 for field in ALL_FIELDS}
    failure = {"host": "&" * 999, "task": "&" * 999, "message": "&" * 9999}
    worst |= {
        "type": "awx.job.failed",
        "terminal": True,
        "elapsed": 1e8,
        "job_url": "https://x/" + "a" * 985,
        "failures": [failure] * 20,
        "complete": False,
        "events_missing_total": 10**11,
        "late": True,
        "replayed": True,
        **{f"hosts_{name}": 10**11 for name in ("total", "failed", "unreachable", "changed")},
    }
    message = slack_message(worst)
    assert message_problems(parts(message)) == []
    assert len(message.text) + len(texts(message)) < 12_000 < ALL_BLOCKS


def test_a_failed_job_says_what_where_and_why():
    message = slack_message(status_fields())
    assert message.blocks[0]["text"]["text"] == (
        "❌ *<https://awx.example.com/#/jobs/playbook/42|deploy-web>* failed (job 42 on prod)"
    )
    whole = texts(message)
    for expected in (
        "*Inventory*\nproduction",
        "*Launched by*\nalice",
        "*Limit*\nweb*",
        "*Duration*\n3m 12s",
        "*Hosts*\n12 · 2 failed · 1 unreachable · 4 changed",
        "*web1 · Install nginx*\n```No package nginx available```",
    ):
        assert expected in whole
    assert message.attachments[0]["color"] == "#d72b3f"
    assert message.text == (
        "❌ deploy-web failed (job 42 on prod). Hosts 12 · 2 failed · 1 unreachable · 4 changed. "
        "web1 · Install nginx: No package nginx available"
    )


def test_only_the_first_failures_are_spelled_out():
    failures = [{"host": f"web{n}", "task": "t", "message": "m", "counter": n} for n in range(20)]
    whole = texts(slack_message(status_fields(failures=failures)))
    assert "web4" in whole
    assert "web5" not in whole
    assert "and 15 more" in whole


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({"complete": False, "events_missing_total": 3}, "not complete: 3 of 120 job events are missing"),
        ({"complete": False}, "not complete: its events could not all be counted"),
        ({"corrects": "successful"}, "corrects the status successful"),
        ({"job_explanation": "Previous Task Failed"}, "Previous Task Failed"),
        ({"replayed": True}, "Sent again on request."),
        ({"failures": [{"host": None, "task": "node-7", "message": "failed"}]}, "*node-7*"),
        ({"job_name": "a <b> & c"}, "a &lt;b&gt; &amp; c"),
        ({"job_name": "<!channel> @here"}, "&lt;!channel&gt; @\u2060here"),
        ({"template": "other"}, "*Template*\nother"),
    ],
)
def test_what_else_a_status_says(more, expected):
    assert expected in texts(slack_message(status_fields(**more)))


def test_a_complete_receipt_says_nothing_of_completeness():
    assert "not complete" not in texts(slack_message(status_fields()))


@pytest.mark.parametrize(
    "url", ["javascript:alert(1)", "https://x/a|b", "https://x/>", "https://x/ y", None, 7]
)
def test_what_is_no_link_is_not_made_one(url):
    assert "|" not in slack_message(status_fields(job_url=url)).blocks[0]["text"]["text"]


@pytest.mark.parametrize(
    ("status", "words"),
    [
        ("successful", "✅ deploy-web succeeded"),
        ("error", "💥 deploy-web ended with an error"),
        ("canceled", "🚫 deploy-web was canceled"),
        ("running", "▶️ deploy-web is running"),
        ("stalled", "🐌 deploy-web has stalled"),
        ("deleted", "🗑️ deploy-web was deleted in AWX"),
        ("unheard_of", "🔹 deploy-web is unheard_of"),
    ],
)
def test_every_status_has_its_words(status, words):
    assert slack_message(status_fields(status)).text.startswith(words)


def test_a_job_event_is_compact():
    message = slack_message(event_fields())
    assert message.text == (
        "❌ web1 failed at task “Install nginx” in deploy-web (job 42 on prod). No package nginx available"
    )
    assert len(message.attachments[0]["blocks"]) == 1


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({"ignore_errors": True}, "failed, which is ignored"),
        ({"event_data": {}, "stdout": "\x1b[0;31mfatal\x1b[0m"}, ". fatal"),
        ({"event_data": {"res": {"msg": {"a": [1, True]}}}}, "a: 1, yes"),
        ({"type": "awx.event.runner_on_unreachable"}, "🔌 web1 could not be reached"),
        ({"type": "awx.event.runner_on_ok"}, "🔹 web1 runner on ok"),
        ({"type": "awx.event.warning", "host": None, "task": None}, "⚠️ warning in deploy-web"),
    ],
)
def test_what_job_events_say(more, expected):
    assert expected in slack_message(event_fields(**more)).text


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        (
            {"type": "bridge.source.down", "source": "prod", "reason": "HTTP 502"},
            "cannot read from AWX prod. Reason HTTP 502",
        ),
        (
            {"type": "bridge.sink.parked", "sink": "cmdb", "reason": "HTTP 401"},
            "The sink cmdb refuses everything",
        ),
        (
            {"type": "bridge.events.missing", "source": "p", "job_id": 4, "job_name": "n"},
            "Job events never became readable in n (job 4 on p)",
        ),
        ({"type": "bridge.heartbeat"}, "The bridge is alive"),
        ({"type": "bridge.{x}"}, "bridge.{x}"),
        ({}, "An event without a type"),
    ],
)
def test_the_bridge_speaks_in_sentences(fields, expected):
    assert expected in slack_message(fields).text


def test_plain_text_reads_well():
    assert plain_text(status_fields()).splitlines() == [
        "❌ deploy-web failed (job 42 on prod)",
        "   Inventory: production",
        "   Project: web",
        "   Launched by: alice",
        "   Limit: web*",
        "   Duration: 3m 12s",
        "   Hosts: 12 · 2 failed · 1 unreachable · 4 changed",
        "   - web1 · Install nginx",
        "       No package nginx available",
        "   https://awx.example.com/#/jobs/playbook/42",
    ]


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0.04, "0.0s"),
        (9.94, "9.9s"),
        (42, "42s"),
        (192.4, "3m 12s"),
        (7500, "2h 5m"),
        (-1, ""),
        (float("nan"), ""),
    ],
)
def test_durations(seconds, shown):
    facts = dict(tell(status_fields(elapsed=seconds)).facts)
    assert facts.get("Duration", "") == shown


def test_plain_text_of_a_job_event():
    assert plain_text(event_fields()).splitlines() == [
        "❌ web1 failed at task “Install nginx” in deploy-web (job 42 on prod)",
        "       No package nginx available",
        "   https://awx.example.com/#/jobs/playbook/42",
    ]
