"""AUTH in an SMTP session: the exchange of `gate.login` as replies, and the wait after a failure."""

from __future__ import annotations

from typing import Any

from gatepost.gate.later import then
from gatepost.gate.login import ChallengeStep, LoggedIn, LoginAttempt, Refused, Step
from gatepost.gate.penalty import wait_after_failure
from gatepost.gate.session import GateSession
from gatepost.intake.settings import IntakeSettings
from gatepost.mail.reply import Reply
from gatepost.ports.wire import Wire
from gatepost.protocol.sasl.exchange import ACCEPTED
from gatepost.protocol.smtp.commands import Auth


class AuthDialogue:
    """The AUTH commands of one session."""

    def __init__(self, gate: GateSession, settings: IntakeSettings, wire: Wire) -> None:
        self._gate = gate
        self._settings = settings
        self._wire = wire
        self._attempt: LoginAttempt | None = None

    def start(self, command: Auth) -> Any:
        """The reply to AUTH: 334, 235 or a refusal."""
        self._attempt = LoginAttempt(self._gate, command.mechanism, self._wire)
        return then(self._attempt.begin(command.initial), self._reply)

    def respond(self, response: bytes) -> Any:
        """The reply to a response of the peer."""
        assert self._attempt is not None  # the session's table lets no response come before AUTH
        return then(self._attempt.respond(response), self._reply)

    def cancel(self) -> None:
        """The session is over."""
        self._attempt = None

    def _reply(self, step: Step) -> Any:
        match step:
            case ChallengeStep():
                return Reply(334, "", step.text)
            case LoggedIn():
                return ACCEPTED
            case Refused(delayed=True):
                return self._after_a_while(step)
            case _:
                return step.reply

    async def _after_a_while(self, refused: Refused) -> Reply:
        settings = self._settings
        await wait_after_failure(self._wire, refused.failures, settings.auth_delay, settings.longest_auth_delay)
        return refused.reply
