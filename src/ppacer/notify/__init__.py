"""Alerts: what is told (`MsgData`, templates) and by whom (senders). Whether and when: the outbox."""

from ppacer.notify.message import MsgData, NotifyError, Sender
from ppacer.notify.senders import LogSender, MockMessage, MockSender, MultiSender
from ppacer.notify.smtp import EmailSender
from ppacer.notify.template import (
    DEFAULT_FAILURE_TEMPLATE,
    DEFAULT_RETRY_TEMPLATE,
    check_template,
    render,
    subject_of,
)
from ppacer.notify.webhook import WebhookSender, default_payload

__all__ = [
    "DEFAULT_FAILURE_TEMPLATE",
    "DEFAULT_RETRY_TEMPLATE",
    "EmailSender",
    "LogSender",
    "MockMessage",
    "MockSender",
    "MsgData",
    "MultiSender",
    "NotifyError",
    "Sender",
    "WebhookSender",
    "check_template",
    "default_payload",
    "render",
    "subject_of",
]
