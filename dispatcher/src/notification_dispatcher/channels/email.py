"""The email channel: each notification as a mail, by way of an SMTP server. Made by `registry`.

Nothing of a server's answer but its code is told: servers repeat addresses and more.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.utils import format_datetime, getaddresses, parseaddr

import aiosmtplib

from notification_dispatcher.channels.addresses import PublicResolver, check_literal
from notification_dispatcher.channels.base import DELIVERED, Delivery, Outcome
from notification_dispatcher.channels.templates import Text, TextError
from notification_dispatcher.errors import BlockedAddressError
from notification_dispatcher.job import Lease
from notification_dispatcher.metric_names import FailureReason
from notification_dispatcher.secret_values import MailServer

_PERMANENT = 500
_MOST_SUBJECT = 200
_MOST_REMEMBERED = 1000


@dataclass(frozen=True, slots=True)
class Letter:
    """What is written, and to whom."""

    sender: str
    to: Sequence[Text]
    subject: Text
    text: Text

    def write(self, job: Lease) -> EmailMessage:
        """The message for a job. Raises TextError."""
        message = EmailMessage()
        message["From"] = self.sender
        message["To"] = ", ".join(str(_address(one.render(job))) for one in self.to)
        message["Subject"] = " ".join(self.subject.render(job).split())[:_MOST_SUBJECT]
        message["Date"] = format_datetime(datetime.fromtimestamp(job.accepted_ms / 1000, UTC))
        # The same for every attempt: that is how a mailbox knows a repetition.
        message["Message-ID"] = f"<{job.id.encode().hex()}@{parseaddr(self.sender)[1].rpartition('@')[2]}>"
        message["Auto-Submitted"] = "auto-generated"
        message.set_content(self.text.render(job))
        return message


class EmailChannel:
    """One mail server, and one kind of letter."""

    def __init__(self, server: MailServer, letter: Letter, resolver: PublicResolver, *, allow_private: bool) -> None:
        self._server = server
        self._letter = letter
        self._resolver = resolver
        self._allow_private = allow_private
        self._had: dict[tuple[str, int], set[str]] = {}
        """Jobs whose mail some recipients had and others had not: so that what is tried again is for the others alone.

        The latest of them, and in this process: beyond that a repetition has its Message-ID to be known by.
        """

    async def deliver(self, job: Lease) -> Delivery:
        """Hand the letter over to the server, for every recipient that has not had it."""
        try:
            return await self._deliver(job)
        except TextError as error:
            return Delivery(Outcome.FAILED, FailureReason.TEMPLATE, str(error))
        except BlockedAddressError as error:
            return Delivery(Outcome.FAILED, FailureReason.BLOCKED_ADDRESS, str(error))
        except (TimeoutError, aiosmtplib.SMTPTimeoutError):
            return Delivery(Outcome.RETRY, FailureReason.TIMEOUT, "the mail server did not answer in time")
        except ssl.SSLError:
            return Delivery(Outcome.RETRY, FailureReason.TLS, "no TLS connection")
        except aiosmtplib.SMTPResponseException as error:
            return _refused(error.code)
        except (aiosmtplib.SMTPServerDisconnected, OSError) as error:
            return Delivery(Outcome.RETRY, FailureReason.CONNECTION, f"no connection ({type(error).__name__})")
        except aiosmtplib.SMTPException:
            # STARTTLS that is not offered, say: an attacker's doing as well as a mistake, so it is tried again.
            return Delivery(Outcome.RETRY, FailureReason.SMTP, "the mail server cannot do what is asked: STARTTLS?")

    async def _deliver(self, job: Lease) -> Delivery:
        message = self._letter.write(job)
        everybody = {one.addr_spec: None for one in message["To"].addresses}
        name = (job.id, job.accepted_ms)
        had = self._had.get(name, set())
        missing = [one for one in everybody if one not in had]
        refused = await self._send(message, missing) if missing else {}
        self._had.pop(name, None)
        if not refused:
            return DELIVERED
        self._remember(name, had.union(missing).difference(refused))
        # As long as one of them may take it later, it is worth another attempt.
        some = f" for {len(refused)} of {len(everybody)} recipients" if len(everybody) > 1 else ""
        return _refused(min(refused.values()), some)

    def _remember(self, name: tuple[str, int], had: set[str]) -> None:
        if had:
            self._had[name] = had
        if len(self._had) > _MOST_REMEMBERED:
            del self._had[next(iter(self._had))]

    async def _send(self, message: EmailMessage, recipients: Sequence[str]) -> dict[str, int]:
        """Send it to some. Those that the server refused, and its answer's code for each."""
        server = self._server
        connected = await self._connect()
        client = aiosmtplib.SMTP(
            hostname=server.host,
            sock=connected,
            timeout=None,
            use_tls=server.tls,
            start_tls=server.starttls,
            username=server.user,
            password=server.password,
        )
        try:
            async with client:
                refused, _ = await client.send_message(message, recipients=recipients)
        except aiosmtplib.SMTPRecipientsRefused as error:
            return {one.recipient: one.code for one in error.recipients}
        finally:
            client.close()
            connected.close()
        return {recipient: answer.code for recipient, answer in refused.items()}

    async def _connect(self) -> socket.socket:
        """A connection to the first of the server's addresses that answers."""
        last = OSError("no address")
        for address in await self._addresses():
            family = socket.AF_INET6 if ":" in address else socket.AF_INET
            made = socket.socket(family, socket.SOCK_STREAM)
            made.setblocking(False)
            try:
                await asyncio.get_running_loop().sock_connect(made, (address, self._server.port))
            except OSError as error:
                made.close()
                last = error
            except BaseException:
                made.close()
                raise
            else:
                return made
        raise last

    async def _addresses(self) -> list[str]:
        """Those that may be reached: connected to as they stand here, so that a name that changes is no way around."""
        host, port = self._server.host, self._server.port
        if not self._allow_private:
            check_literal(host)
            return [one["host"] for one in await self._resolver.resolve(host, port, socket.AF_UNSPEC)]
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        return [str(one[4][0]) for one in found]


def _address(text: str) -> Address:
    found = getaddresses([text.strip()])
    if len(found) != 1 or not text.strip().isprintable():
        raise TextError("a recipient is not one address")
    try:
        return Address(found[0][0], addr_spec=found[0][1])
    except (ValueError, IndexError):
        raise TextError("a recipient is not an address") from None


def _refused(code: int, some: str = "") -> Delivery:
    outcome = Outcome.FAILED if code >= _PERMANENT else Outcome.RETRY
    return Delivery(outcome, FailureReason.SMTP, f"the mail server answered {code}{some}")
