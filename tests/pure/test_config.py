"""From a file to a configuration: defaults, variables, secrets, and every problem at once."""

from pathlib import Path

import jsonschema
import pytest
from pydantic import ValidationError

from bridge import config
from bridge.config.models import parse_listen
from bridge.errors import ConfigError
from bridge.options import SinkOptions
from bridge.sinks import SinkKind, sink_kinds

KINDS = sink_kinds()
MINIMAL = """
sources: {prod: {url: "https://awx.example.com", token: t}}
sinks: {out: {type: stdout}}
routes: [{to: out}]
"""


def read(text, **environ):
    return config.parse(text.encode(), environ, KINDS)


def problems(text, **environ):
    with pytest.raises(ConfigError) as caught:
        read(text, **environ)
    return [str(problem) for problem in caught.value.problems]


def with_source(block):
    return f"sources: {{prod: {block}}}\nsinks: {{out: {{type: stdout}}}}\nroutes: [{{to: out}}]\n"


def test_what_is_left_out_has_its_default():
    made = read(MINIMAL)
    assert made.name == "awx-bridge"
    assert made.state.path == Path("state/bridge.db")
    assert made.server.address == ("127.0.0.1", 8088)
    assert made.log.level == "info"
    assert made.max_hosts == 200
    assert made.drain_timeout == 20
    assert made.redact.keys == ()
    assert made.sources["prod"].public_url == "https://awx.example.com"
    assert made.sinks["out"].type == "stdout"
    assert made.route_specs[0].to == ("out",)
    with pytest.raises(ValidationError):
        made.name = "other"


def test_the_example_of_the_product():
    made = read(
        """
name: awx-bridge
sources:
  prod:
    url: https://awx.example.com
    public_url: https://awx.example.com
    token: ${AWX_TOKEN}
    start: now
    jobs: {types: [job, workflow_job], exclude: {template: "test-*"}}
    max_requests: 5
    gap_wait: 10s
    close_wait: 120s
sinks:
  ops:    {type: slack, token: "${SLACK_TOKEN}", channel: "#ops"}
  cmdb:   {type: webhook, url: "https://cmdb.example.com/awx", secret: "${CMDB_SECRET}"}
routes:
  - to: cmdb
  - match: {type: [awx.job.failed, awx.job.error], template: "deploy-*"}
    to: [ops, cmdb]
state: {path: ./state/bridge.db}
server: {listen: "127.0.0.1:8088"}
""",
        AWX_TOKEN="12345",
        SLACK_TOKEN="xoxb-1",
        CMDB_SECRET="s",
    )
    assert made.sources["prod"].reveal("token") == "12345"
    assert made.routes[1].to == ("ops", "cmdb")


def test_variables():
    text = MINIMAL + 'name: "${A}-${B:-b}${C:-}$${D}"'
    assert problems(text, A="x") == [
        "line 5: name: must match ^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$",
    ]
    routes = '{name: "${A}-${B:-b}${C:-c}$${D}${E}", to: out}'
    made = read(MINIMAL.replace("{to: out}", routes), A="x", B="", E="")
    assert made.routes[0].name == "x-bc${D}"


def test_variables_stand_for_numbers_and_booleans_too():
    text = with_source(
        '{url: "${U}", token: t, max_requests: "${N}", gap_wait: "${W}", page_limit: "${N}",'
        ' page_bytes: "${W}", tls: {verify: "${V}"}}'
    )
    source = read(text, U="https://x", N="7", W="90", V="false").sources["prod"]
    assert (source.max_requests, source.gap_wait, source.page_limit) == (7.0, 90.0, 7)
    assert (source.page_bytes, source.tls.verify) == (90, False)


def test_a_variable_cannot_change_the_structure():
    made = read(MINIMAL.replace("{to: out}", '{to: out, name: "${N}"}'), N='x", stop: true, name: "y\n')
    assert made.routes[0].name == 'x", stop: true, name: "y\n'
    assert made.routes[0].stop is False


def test_problems_of_variables():
    text = with_source('{url: "https://x", token: "${NOPE}", proxy: "${", username: "${1}"}')
    assert problems(text) == [
        "line 1: sources.prod.proxy: `${` without a variable name; write $${ for a plain ${",
        "line 1: sources.prod.token: the environment variable NOPE is not set; set it or write ${NOPE:-default}",
        "line 1: sources.prod.username: `${` without a variable name; write $${ for a plain ${",
    ]
    assert "not UTF-8" in problems(with_source('{url: "https://x", token: "${T}"}'), T="\udcff")[0]


def test_secrets_from_files(tmp_path):
    (tmp_path / "token").write_text("from-file\n")
    made = read(with_source(f"{{url: 'https://x', token_file: {tmp_path}/token}}"))
    assert made.sources["prod"].reveal("token") == "from-file"
    (tmp_path / "empty").touch()
    for block, words in [
        (
            f"{{url: 'https://x', token: t, token_file: {tmp_path}/token}}",
            "give token or token_file, not both",
        ),
        (f"{{url: 'https://x', token_file: {tmp_path}/none}}", "cannot be read: No such file"),
        (f"{{url: 'https://x', token_file: {tmp_path}}}", "is a directory"),
        (f"{{url: 'https://x', token_file: {tmp_path}/empty}}", "is empty"),
        ('{url: "https://x", token_file: "a\\0b"}', "this is no path"),
        (f"{{url: 'https://x', token: t, tls: {{ca_file: {tmp_path}/none}}}}", "tls.ca_file: the file"),
        (
            f"{{url: 'https://x', token: t, tls: {{client_cert: {tmp_path}/none}}}}",
            "tls.client_cert: the file",
        ),
    ]:
        said = problems(with_source(block))
        assert len(said) == 1
        assert words in said[0]


MISTAKES = """\
sources:
  Prod: {url: "https://x", token: t}
  a:
    url: https://x
    tokn: "x"
    token: t
    gap_wait: 10x
    max_requests: yes
    start: 5
    tls: {verify: no}
  c:
    url: https://x
    token: t
    jobs: {types: [jb], exclude: {templat: x, stdout: y}}
sinks:
  events: {type: stdot}
  cmdb: {type: webhook, url: }
  x: {url: 4}
  y: 5
  out: {type: stdout, retry_for: true, max_leg: 5}
routes:
  - to: event
    mach: 3
  - to: [out, opps]
    match: {event_data.res.rc: {gtt: 4}, type: "["}
  - match: {}
  - 5
  - {to: out, match: 5, stop: 1}
server: {listen: 8088}
serverr: 5
log: {level: loud}
max_hosts: 1.5
"""


def test_all_problems_are_reported_at_once_in_the_order_of_the_file():
    said = problems(MISTAKES)
    assert [line.split(": ", 2)[:2] for line in said] == [
        ["line 2", "sources.Prod"],
        ["line 5", "sources.a.tokn"],
        ["line 7", "sources.a.gap_wait"],
        ["line 8", "sources.a.max_requests"],
        ["line 9", "sources.a.start"],
        ["line 10", "sources.a.tls.verify"],
        ["line 14", "sources.c.jobs.exclude.stdout"],
        ["line 14", "sources.c.jobs.exclude.templat"],
        ["line 14", "sources.c.jobs.types[0]"],
        ["line 16", "sinks.events"],
        ["line 17", "sinks.cmdb.url"],
        ["line 18", "sinks.x"],
        ["line 19", "sinks.y"],
        ["line 20", "sinks.out.max_leg"],
        ["line 20", "sinks.out.retry_for"],
        ["line 22", "routes[0].to"],
        ["line 23", "routes[0].mach"],
        ["line 24", "routes[1].to[1]"],
        ["line 25", "routes[1].match.event_data.res.rc.gtt"],
        ["line 25", "routes[1].match.type"],
        ["line 26", "routes[2]"],
        ["line 27", "routes[3]"],
        ["line 28", "routes[4].match"],
        ["line 28", "routes[4].stop"],
        ["line 29", "server.listen"],
        ["line 30", "serverr"],
        ["line 31", "log.level"],
        ["line 32", "max_hosts"],
    ]


@pytest.mark.parametrize(
    "words",
    [
        "unknown key 'tokn'; did you mean 'token'?",
        "unknown key 'mach'; did you mean 'match'?",
        "unknown key 'max_leg'; did you mean 'max_lag'?",
        "unknown sink type 'stdot'; did you mean 'stdout'?; known types are file",
        "`type` is missing; known types are file",
        "unknown field 'templat'; did you mean 'template'?",
        "no sink is called 'event'; did you mean 'events'?",
        "no sink is called 'opps'; the sinks are events, cmdb, x, y, out",
        "put a text that starts with # in quotes",
        "tls.verify: must be true or false",
        "stop: must be true or false",
        "log.level: must be debug, info, warning or error",
        "max_hosts: must be a whole number",
        "unknown operator 'gtt'; did you mean 'gt'?",
        "this route does nothing",
    ],
)
def test_problems_say_what_to_do(words):
    assert words in "\n".join(problems(MISTAKES))


def test_what_every_configuration_needs():
    assert problems("{}") == [
        "line 1: routes: is required",
        "line 1: sinks: is required",
        "line 1: sources: is required",
    ]
    assert [line.split(": ", 2)[1] for line in problems("sources: {}\nsinks: {}\nroutes: []")] == [
        "sources",
        "sinks",
        "routes",
    ]
    assert problems("sources:\nsinks:\nroutes:\n")[0] == "line 1: sources: nothing is given here"


def test_no_secret_is_ever_shown():
    text = with_source('{url: "https://x", token: [hunter2], password: {a: hunter2}, proxy: hunter2}')
    assert "hunter2" not in "\n".join(problems(text))
    assert "hunter2" not in repr(read(with_source('{url: "https://x", token: hunter2}')))


def test_a_file_that_cannot_be_read(tmp_path):
    for path in (tmp_path, tmp_path / "none"):
        with pytest.raises(ConfigError, match="cannot be read"):
            config.load(path, {})
    (tmp_path / "bridge.yaml").write_text(MINIMAL)
    assert config.load(tmp_path / "bridge.yaml", {}) == read(MINIMAL)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:8088", ("127.0.0.1", 8088)),
        ("localhost:0", ("localhost", 0)),
        ("[::1]:80", ("::1", 80)),
        ("[::]:65535", ("::", 65535)),
    ],
)
def test_addresses_to_listen_on(text, address):
    assert parse_listen(text) == address


@pytest.mark.parametrize(
    "text", ["", ":80", "a", "a:", "a:x", "a:65536", "::1:80", "[x]:80", "a b:1", "a:-1", "a:²"]
)
def test_what_is_no_address_to_listen_on(text):
    with pytest.raises(ValueError, match=r".+"):
        parse_listen(text)


def test_no_server():
    assert read(MINIMAL + "server: {listen: null}").server.address is None


def test_fields_to_leave_out_are_fields():
    text = MINIMAL.replace("{type: stdout}", "{type: stdout, fields: {exclude: [stdout, stdot, id, 5]}}")
    assert problems(text) == [
        "line 3: sinks.out.fields.exclude[1]: unknown field 'stdot'; did you mean 'stdout'?",
        "line 3: sinks.out.fields.exclude[2]: id cannot be left out",
        "line 3: sinks.out.fields.exclude[3]: must be a text: put it in quotes",
    ]


class PagerOptions(SinkOptions):
    """A third party's sink, which leaves out `type`."""

    key: str


def test_a_third_partys_sink_needs_no_type_of_its_own():
    kinds = {"pager": SinkKind(PagerOptions, None)}
    text = MINIMAL.replace("type: stdout", "type: pager, key: k").encode()
    assert isinstance(config.parse(text, {}, kinds).sinks["out"], PagerOptions)


def test_the_schema_for_editors():
    schema = config.config_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    check = jsonschema.Draft202012Validator(schema)
    good = {
        "sources": {"prod": {"url": "https://x", "max_requests": "${N}", "gap_wait": "10s"}},
        "sinks": {"out": {"type": "stdout"}},
        "routes": [{"to": "out", "stop": True}, {"to": ["out"]}],
    }
    assert check.is_valid(good)
    assert not check.is_valid({**good, "unknown": 1})
    assert not check.is_valid({**good, "sinks": {"out": {"type": "nothing"}}})
    assert not check.is_valid({**good, "sinks": {"Out": {"type": "stdout"}}})
    assert not check.is_valid({**good, "max_hosts": "many"})
    assert {name for name in KINDS if check.is_valid({**good, "sinks": {"o": {"type": name}}})} >= {"stdout"}


def test_a_name_with_a_line_break_makes_no_second_line():
    found = problems(r"""
sources: {prod: {url: "https://awx.example.com", token: t}}
sinks: {"x\r\ny": {}}
routes: [{to: z}]
""")
    assert all(line.isprintable() for line in found)
    assert any(r"the sinks are x\r\ny" in line for line in found)
