"""Secrets in what tasks say."""

import msgspec

from ppacer.config import Mask, masked
from ppacer.tasklog.records import LogRecord


def masked_record(record: LogRecord, mask: Mask) -> LogRecord:
    """The record with every secret in it masked."""
    hidden = masked(record.attributes, mask)
    return msgspec.structs.replace(record, message=mask(record.message), attributes=hidden)
