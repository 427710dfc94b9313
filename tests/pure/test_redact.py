import json
import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import ValidationError

from bridge.redact import RedactOptions, Redactor

REDACTOR = Redactor()
SECRET = "hunter2-S3cret"


def text(value, redactor=REDACTOR):
    return redactor.text(value)[0]


def doc(value, redactor=REDACTOR):
    return json.loads(redactor.document(json.dumps(value).encode())[0])


@pytest.mark.parametrize(
    "key",
    [
        "password", "PASSWORD", "db_password", "dbPassword", "ansible_become_pass", "ansible_ssh_pass", "PGPASS",
        "vault_password", "vault-pass", "passwd", "passphrase", "pass phrase", "passcode", "token", "X-Auth-Token",
        "accessToken", "access_tokens", "secret", "client_secret", "AWS_SECRET_ACCESS_KEY", "aws_access_key",
        "private_key", "privateKey", "ssh private key", "api_key", "apikey", "X-API-Key", "Authorization",
        "Proxy-Authorization", "credentials", "Set-Cookie", "cookies", "db_pwd", "MYSQL_PWD", "userPwd", "psk",
        "wifi_psk", "encryption_key", "connection_string", "snmp_community", "password_hash", "url_password",
        "secret_id", "session_id", "password2", "my_secret_file_password", "otp",
    ],
)  # fmt: skip
def test_these_keys_hide_their_value(key):
    assert doc({key: SECRET}) == {key: "[redacted]"}
    assert doc({"res": [{"invocation": {"module_args": {key: SECRET}}}]})["res"][0]["invocation"] == {
        "module_args": {key: "[redacted]"}
    }
    assert SECRET not in text(f"{key}={SECRET} x=1")
    assert SECRET not in text(f'out: "{key}": "{SECRET}", "x": 1')


@pytest.mark.parametrize(
    "key",
    [
        "password_policy_days", "token_count", "max_token_size", "secret_name", "private_key_file", "bypass",
        "compass", "passed", "tokenize", "update_password", "password_file", "token_type", "PWD", "key", "keys",
        "passwordPolicyDays", "vault_password_files", "api_key_path", "play_pattern", "opt", "hotplug", "author",
        "credential_type", "password_expire_max", "cookie_path",
    ],
)  # fmt: skip
def test_these_keys_are_only_about_a_secret_or_not_even_that(key):
    assert REDACTOR.document(json.dumps({key: "x", "n": {key: 3}}).encode())[1] == 0


def test_only_texts_and_numbers_are_hidden_and_the_shape_stays():
    value = {"password": ["a", 1, 2.5, True, None, {"x": "y", "n": False, "l": []}], "other": 1}
    hidden = ["[redacted]"] * 3 + [True, None, {"x": "[redacted]", "n": False, "l": []}]
    assert doc(value) == {"password": hidden, "other": 1}


@pytest.mark.parametrize(
    "value",
    [
        "$encrypted$", "VALUE_SPECIFIED_IN_NO_LOG_PARAMETER", "[redacted]", "", "********",
        "$hidden due to Ansible no_log flag$",
    ],
)  # fmt: skip
def test_what_awx_hid_already_stays_as_it_is(value):
    assert REDACTOR.document(json.dumps({"password": value}).encode())[1] == 0
    assert REDACTOR.text(f'"password": "{value}"')[1] == 0


def test_censored_results_stay():
    result = {"censored": "the output has been hidden due to the fact that 'no_log: true' was specified"}
    raw = json.dumps(result).encode()
    assert REDACTOR.document(raw) == (raw, 0)


def test_names_beside_values():
    env = [{"name": "DB_PASSWORD", "value": SECRET}, {"name": "HOME", "value": "/root"}]
    assert doc(env) == [{"name": "DB_PASSWORD", "value": "[redacted]"}, {"name": "HOME", "value": "/root"}]
    prompt = {"varname": "admin_pass", "private": True, "default": SECRET}
    assert doc(prompt) == {"varname": "admin_pass", "private": True, "default": "[redacted]"}


def test_command_lines_in_lists():
    argv = ["mysql", "--password", SECRET, "-u", "bob", "--token=" + SECRET, "--", "--password"]
    assert doc({"cmd": argv}) == {
        "cmd": ["mysql", "--password", "[redacted]", "-u", "bob", "--token=[redacted]", "--", "--password"]
    }


def test_a_private_key_line_by_line():
    lines = ["a", "-----BEGIN RSA PRIVATE KEY-----", "MIIEow", "AAA=", "-----END RSA PRIVATE KEY-----", "b"]
    assert doc({"stdout_lines": lines}) == {"stdout_lines": ["a", *["[redacted]"] * 4, "b"]}


def test_json_in_strings_in_json():
    inner = json.dumps({"user": "bob", "password": SECRET})
    middle = json.dumps([inner, 1])
    found = doc({"content": middle})
    assert json.loads(json.loads(found["content"])[0]) == {"user": "bob", "password": "[redacted]"}
    nested = inner
    for _ in range(8):
        nested = json.dumps({"x": nested})
    assert SECRET not in REDACTOR.document(nested.encode())[0].decode()


@pytest.mark.parametrize(
    "raw",
    [
        rb'{"\u0070assword":"hunter2-S3cret"}',
        rb'{"pass\u0077ord":"hunter2-S3cret"}',
        rb'{"x":"https:\/\/bob:hunter2-S3cret@host\/"}',
        rb'{"x":"{\"pass\\u0077ord\":\"hunter2-S3cret\"}"}',
        rb'{"password":1,"password":"hunter2-S3cret"}',
        rb'{"password":"hunter2-S3cret","password":null}',
        rb'{"a":"hunter2-S3cret","a":{"secret":"hunter2-S3cret"}}',
        rb'{"a":{"secret":"hunter2-S3cret"},"a":1}',
        rb'{"x":"{\"secret\":\"hunter2-S3cret\",\"secret\":true}"}',
        b' \n{"PASSWORD" : "hunter2-S3cret"} ',
    ],
)
def test_other_spellings_in_json(raw):
    found, count = REDACTOR.document(raw)
    json.loads(found)
    assert SECRET.encode() not in found
    assert count


@pytest.mark.parametrize(
    "raw",
    [
        b'{"password":', b'{"password":1e999}', b'{"password":"\\ud800"}', b'{"password":"\xff"}',
        b'{"password":' + b"[" * 100_000 + b"]" * 100_000 + b"}", b"password", b'{"token_count":' + b"1" * 5000 + b"}",
    ],
)  # fmt: skip
def test_what_cannot_be_read_again_is_dropped(raw):
    assert REDACTOR.document(raw) == (b"{}", 1)


@pytest.mark.parametrize(
    ("given_text", "expected"),
    [
        ("password=hunter2 user=bob", "password=[redacted] user=bob"),
        ("name=bob password='a b c' x", "name=bob password='[redacted]' x"),
        ("login --password hunter2 --verbose", "login --password [redacted] --verbose"),
        ("--token=hunter2", "--token=[redacted]"),
        ("--token --verbose", "--token --verbose"),
        ("Authorization: Bearer x", "Authorization: [redacted]"),
        ('curl -H "Authorization: Bearer a.b" http://h', 'curl -H "Authorization: [redacted]" http://h'),
        ("> Cookie: a=b; c=d\r\n> Host: h", "> Cookie: [redacted]\r\n> Host: h"),
        ("password: my secret phrase\nnext: 1", "password: [redacted]\nnext: 1"),
        ("+password = my secret phrase", "+password = [redacted]"),
        ("the password: hunter2 is wrong", "the password: [redacted] is wrong"),
        ("{'password': 'x', u'api_key': u'y'}", "{'password': '[redacted]', u'api_key': u'[redacted]'}"),
        ('x {"password": 123, "b": true}', 'x {"password": [redacted], "b": true}'),
        ('x {"password": null, "b": true}', 'x {"password": null, "b": true}'),
        ('say \\"password\\": \\"x\\", \\"b\\": 1', 'say \\"password\\": \\"[redacted]\\", \\"b\\": 1'),
        ('out {"secrets": {"a": "}", "b": [1]}, "c": 2}', 'out {"secrets": [redacted], "c": 2}'),
        ('x "credentials": ["a", "b', 'x "credentials": [redacted]'),
        ('PASSWORD=ab"cd" tail', 'PASSWORD=[redacted]" tail'),
        ("password='it''s' tail", "password=[redacted]' tail"),
        ("password=[redacted]hunter2", "password=[redacted]"),
        ("https://bob:hunter2@host:443/x", "https://bob:[redacted]@host:443/x"),
        ("https://bob:a@b@host/x", "https://bob:[redacted]@host/x"),
        ("postgres://bob:a/b@host/db", "postgres://bob:[redacted]@host/db"),
        ("http://host:8080/path?to=a@b.c", "http://host:8080/path?to=a@b.c"),
        ("ssh://git@host/x", "ssh://git@host/x"),
        ("https://abcdefghij0123456789@host/x", "https://[redacted]@host/x"),
        ("curl -u bob:hunter2 h", "curl -u bob:[redacted] h"),
        ("sshpass -p hunter2 ssh h", "sshpass -p [redacted] ssh h"),
        ("username bob password 7 0822455D0A16", "username bob password 7 [redacted]"),
        ("snmp-server community s3 RO", "snmp-server community [redacted] RO"),
        ("got Bearer abc123def", "got Bearer [redacted]"),
        ("a basic dXNlcjpwYXNz here", "a basic [redacted] here"),
        ("AKIAABCDEFGHIJKLMNOP wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "[redacted] [redacted]"),
        ("a -----BEGIN OPENSSH PRIVATE KEY-----\nb\n-----END OPENSSH PRIVATE KEY-----\nc", "a [redacted]\nc"),
        ("a -----BEGIN PRIVATE KEY-----\nb", "a [redacted]"),
        ("b\n-----END PRIVATE KEY-----\nc", "[redacted]\nc"),
        ("ghp_" + "a1" * 18, "[redacted]"),
        ("glpat-" + "a1" * 10, "[redacted]"),
        ("xoxb-123456789012-abc", "[redacted]"),
        ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.c2ln", "[redacted]"),
        ("\x1b[0;31mpassword: x y\x1b[0m", "\x1b[0;31mpassword: [redacted]"),
    ],
)  # fmt: skip
def test_text(given_text, expected):
    assert text(given_text) == expected
    assert doc({"msg": given_text}) == {"msg": expected}


@pytest.mark.parametrize(
    "prose",
    [
        "All assertions passed", "Basic authentication required", "the bearer token is missing", "PWD=/root",
        "TASK [Change password] ***", "password policy: 30 days", "tokens_count=4", "commit 1f0e" + "a" * 36,
        "ok=3 changed=1 failed=0", "see https://docs.example.com/password", "author: bob", "community.general.ping",
        "VAULT: none", "password: null", "password=$encrypted$",
    ],
)  # fmt: skip
def test_prose_stays(prose):
    assert REDACTOR.text(prose) == (prose, 0)


def test_keys_can_hold_secrets_too():
    found = doc({"https://bob:a@h": 1, "https://bob:b@h": 2})
    assert found == {"https://bob:[redacted]@h": 1, "https://bob:[redacted]@h (2)": 2}


def test_untouched_documents_stay_byte_for_byte():
    raw = b'{ "a" : 1.0, "b":"\\u00e9\\n", "c": [ ] , "pwd_file":"x"}'
    assert REDACTOR.document(raw) == (raw, 0)


def test_lone_surrogates_do_no_harm():
    assert "hunter2" not in text("\ud800 password=hunter2")
    assert text("\ud800 fine") == "\ud800 fine"


def test_fields_are_redacted_in_place():
    import msgspec  # noqa: PLC0415 - only here

    fields = {
        "task": "login --password x", "stdout": "fine", "n": None, "labels": ["token=x", "b"],
        "event_data": msgspec.Raw(b'{"password":"x"}'), "left": "password=x",
    }  # fmt: skip
    assert REDACTOR.fields(fields, ("task", "stdout", "n", "labels", "event_data", "absent")) == 3
    assert bytes(fields.pop("event_data")) == b'{"password":"[redacted]"}'
    assert fields == {
        "task": "login --password [redacted]", "stdout": "fine", "n": None, "labels": ["token=[redacted]", "b"],
        "left": "password=x",
    }  # fmt: skip


def test_configured_words_patterns_and_exceptions():
    redactor = Redactor(RedactOptions(keys=("iban",), patterns=(r"EMP-\d{4}", r"^start"), allow=("Token",)))
    assert doc({"customer_iban": "DE1", "token": "x", "db_token": "y"}, redactor) == {
        "customer_iban": "[redacted]", "token": "x", "db_token": "[redacted]"
    }  # fmt: skip
    assert text("EMP-1234 EMP-12 IBAN: DE1", redactor) == "[redacted] EMP-12 IBAN: [redacted]"
    assert doc({"a": "start EMP-0000"}, redactor) == {"a": "[redacted] [redacted]"}
    assert text("token=x", redactor) == "token=x"


@pytest.mark.parametrize(
    "options", [{"patterns": ["("]}, {"patterns": [r"(?=a)"]}, {"keys": ['"']}, {"keys": [""]}, {"key": []}]
)
def test_wrong_options(options):
    with pytest.raises(ValidationError):
        RedactOptions(**options)


PIECES = [
    "password", "passwd", "token", "secret", "api_key", "Authorization", "Cookie", "--password", "--token", "pwd",
    "name", "value", "=", ": ", ":", "=>", " ", ",", "\n", '"', "'", '\\"', "\\", "{", "}", "[", "]", "hunter2",
    "[redacted]", "null", "Bearer ", "Basic ", "abcdefgh12", "dXNlcjpwYXNz", "://", "u:p@h", "https://", "@", "/",
    "-----BEGIN RSA PRIVATE KEY-----", "-----END RSA PRIVATE KEY-----", "AKIAABCDEFGHIJKLMNOP", "é", "\u017f",
    "\u212a", "ghp_" + "a1" * 18, "-u ", "community ", "5 ", "sshpass -p ", "_file", "- ", "x", "\x1b[0m",
]  # fmt: skip
TEXTS = st.lists(st.sampled_from(PIECES), max_size=9).map("".join) | st.text(max_size=30)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(TEXTS, inner, max_size=4)
        | inner.map(lambda value: json.dumps(value, ensure_ascii=False))
    ),
    max_leaves=12,
)


class Everything:
    """A needle that is found everywhere: the slow path alone."""

    def search(self, _text):
        return self


def slow_redactor():
    redactor = Redactor()
    redactor._needle = Everything()
    return redactor


SLOW = slow_redactor()


def shape_of(value):
    if isinstance(value, dict):
        return [shape_of(item) for item in value.values()]
    return [shape_of(item) for item in value] if isinstance(value, list) else 0


@given(value=VALUES, ascii_only=st.booleans(), gap=st.sampled_from([",", ", "]))
@example(value={"x": "Bearer /abcdefgh12"}, ascii_only=True, gap=",")
def test_the_fast_path_is_the_slow_path(value, ascii_only, gap):
    raw = json.dumps(value, ensure_ascii=ascii_only, separators=(gap, ":")).encode()
    fast = REDACTOR.document(raw)
    assert fast == SLOW.document(raw)
    assert shape_of(json.loads(fast[0])) == shape_of(value)
    again, count = REDACTOR.document(fast[0])
    assert (json.loads(again), count) == (json.loads(fast[0]), 0)


@given(value=TEXTS)
def test_the_fast_path_is_the_slow_path_for_text(value):
    fast = REDACTOR.text(value)
    assert fast == SLOW.text(value)
    assert REDACTOR.text(fast[0]) == (fast[0], 0)


@given(raw=st.binary(max_size=60) | st.sampled_from(PIECES).map(str.encode))
def test_redaction_is_total(raw):
    REDACTOR.document(raw)
    REDACTOR.text(raw.decode("utf-8", "surrogateescape"))


@given(
    key=st.sampled_from(["password", "clientSecret", "X-Api-Key", "vault_pass", "authorization"]),
    secret=st.text(st.characters(min_codepoint=33, max_codepoint=0x2FF), min_size=8, max_size=30).filter(
        lambda text: text.strip("*") and not text.startswith(("[", "$"))
    ),
    depth=st.integers(0, 3),
)
def test_a_secret_under_its_name_never_leaves(key, secret, depth):
    value = {"user": "bob", key: secret}
    for level in range(depth):
        value = {"inner": [json.dumps(value) if level % 2 else value]}
    assert secret not in REDACTOR.document(json.dumps(value).encode())[0].decode()


@pytest.mark.parametrize(
    "piece",
    [
        "password=", "password='", 'password="\\"', 'token: {"', "token: {\n", "token: [\n", "token: [", "a://b:",
        "http://h:80/x@", "-----BEGIN RSA PRIVATE KEY-----", "token", "password ", "\npassword: ",
        '\\"password\\": \\"', "bearer a", "authorization:x", '{"password":', "-u a:b ", "AKIAABCDEFGHIJKLMNOP ",
    ],
)  # fmt: skip
def test_time_is_linear(piece):
    long = piece * (200_000 // len(piece))
    started = time.process_time()
    REDACTOR.text(long)
    REDACTOR.document(json.dumps({"x": long}).encode())
    assert time.process_time() - started < 5


@pytest.mark.parametrize(
    ("said", "left"),
    [
        (r'"stderr": "No space\ntoken: s1mtok.4f"', r'"stderr": "No space\ntoken: [redacted]"'),
        (r"\tpassword=hunter2x", r"\tpassword=[redacted]"),
        (r"\u000apassword=hunter2x", r"\u000apassword=[redacted]"),
        (r"\ntokenize: yes", r"\ntokenize: yes"),
        (r"ntoken: five", r"ntoken: five"),
    ],
)
def test_a_name_may_stand_behind_an_escape(said, left):
    assert text(said) == left


def test_a_mark_keeps_its_bracket():
    said = "curl -fsS -H 'Authorization: Bearer s1mtok.4f9a7c21d0be4e58' https://api.example.com"
    assert text(said) == "curl -fsS -H 'Authorization: [redacted]' https://api.example.com"
