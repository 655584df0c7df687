"""Every check, in the order in which it runs: stage by stage, cheap before costly (the tables of the manual)."""

from __future__ import annotations

from typing import Final

from gatepost.policy.check import Check
from gatepost.policy.checks import (
    auth_attempts,
    auth_required,
    client_access,
    client_banned,
    client_connections,
    client_rate,
    command_allowed,
    command_budget,
    content_dkim,
    content_framing,
    content_from,
    content_headers,
    content_lines,
    content_loop,
    content_sealed,
    expn_scope,
    helo_name,
    message_size,
    recipient_count,
    recipient_domain,
    recipient_exists,
    recipient_harvest,
    recipient_list,
    recipient_quota,
    recipient_rate,
    relay,
    seal_required,
    sender_callout,
    sender_domain,
    sender_held,
    sender_local,
    sender_login,
    sender_rate,
    sender_spf,
    sender_syntax,
    tls_required,
)

CHECKS: Final[tuple[Check, ...]] = (
    client_access.CHECK,
    client_banned.CHECK,
    client_connections.CHECK,
    client_rate.CHECK,
    helo_name.CHECK,
    command_budget.CHECK,  # whoever has used it up hears nothing else
    command_allowed.CHECK,  # first: a peer told to start TLS for AUTH should find AUTH there
    expn_scope.CHECK,
    tls_required.CHECK,
    auth_required.CHECK,
    auth_attempts.CHECK,
    sender_syntax.CHECK,
    sender_domain.CHECK,
    sender_callout.CHECK,
    sender_login.CHECK,
    sender_local.CHECK,
    sender_spf.CHECK,
    sender_rate.CHECK,  # at the end of the message it runs last: what others refuse is not counted
    sender_held.CHECK,  # after it: what is held is counted
    message_size.CHECK,
    sender_syntax.RECIPIENT_CHECK,
    relay.CHECK,
    recipient_domain.CHECK,
    recipient_harvest.CHECK,  # before the one that refuses what this one counts
    recipient_exists.CHECK,
    recipient_count.CHECK,
    recipient_quota.CHECK,
    recipient_list.CHECK,
    recipient_rate.CHECK,
    content_framing.CHECK,
    content_lines.CHECK,
    content_headers.CHECK,
    content_loop.CHECK,
    content_from.CHECK,
    content_dkim.CHECK,  # reads the whole content, as does the next
    content_sealed.CHECK,
    seal_required.CHECK,  # behind whatever refuses without a look-up
)
