"""awx-event-bridge: what AWX jobs do, forwarded durably to Kafka, Slack and webhooks."""

__version__ = "0.1.0"
