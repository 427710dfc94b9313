"""Secrets planted into the simulated jobs, so that redaction can be checked from outside.

None of them opens anything. Each value stands in at least one event of the `demo` scenario; a
reader that redacts well lets none of `SECRETS` through.
"""

from __future__ import annotations

from typing import Final

PASSWORD: Final = "s1m-Passw0rd-7Qx"  # noqa: S105  # planted on purpose, opens nothing
BEARER: Final = "simtok.4f9a7c21d0be4e58.Zk3vQ9"
URL_PASSWORD: Final = "s1m-url-Secr3t"  # noqa: S105  # planted on purpose, opens nothing
AWS_KEY_ID: Final = "AKIASIMULATED0000007"
AWS_SECRET: Final = "s1mAwsSecretKey/9Zt4Yq2Lw8Rv6Bn1Mk5Hc3Xd"  # noqa: S105  # planted on purpose
PEM_BODY: Final = "MIIEc2ltdWxhdGVkIHByaXZhdGUga2V5IGJvZHk5WnQ0WXEyTHc4UnY2Qm4x"

SECRETS: Final = (PASSWORD, BEARER, URL_PASSWORD, AWS_KEY_ID, AWS_SECRET, PEM_BODY)
"""Every planted value as it stands in events and output."""

PEM: Final = f"-----BEGIN RSA PRIVATE KEY-----\n{PEM_BODY}\n-----END RSA PRIVATE KEY-----"
GIT_URL: Final = f"https://deploy:{URL_PASSWORD}@git.example.com/platform/app.git"
CURL: Final = f"curl -fsS -H 'Authorization: Bearer {BEARER}' https://api.example.com/v1/deployments"

RESULTS: Final[dict[str, dict[str, object]]] = {
    "ansible.builtin.user": {
        "changed": True,
        "name": "deploy",
        "invocation": {"module_args": {"name": "deploy", "password": PASSWORD, "state": "present"}},
    },
    "ansible.builtin.uri": {
        "changed": False,
        "status": 200,
        "url": GIT_URL,
        "invocation": {
            "module_args": {"url": GIT_URL, "headers": {"Authorization": f"Bearer {BEARER}"}, "method": "GET"}
        },
    },
    "ansible.builtin.command": {
        "changed": True,
        "rc": 0,
        "cmd": CURL,
        "stdout": f"export AWS_ACCESS_KEY_ID={AWS_KEY_ID}\nexport AWS_SECRET_ACCESS_KEY={AWS_SECRET}",
        "stderr": "",
        "invocation": {"module_args": {"_raw_params": CURL, "_uses_shell": True}},
    },
    "ansible.builtin.slurp": {
        "changed": False,
        "source": "/etc/ssl/private/web.key",
        "content": PEM,
        "invocation": {"module_args": {"src": "/etc/ssl/private/web.key"}},
    },
}
"""What a module with a secret in its arguments or its result answers, by module."""

OUTPUT_LINES: Final = (
    f"db_password={PASSWORD}",
    f"Cloning into '/srv/app' from {GIT_URL}",
    f"Authorization: Bearer {BEARER}",
)
"""Lines of plain output with a secret."""
