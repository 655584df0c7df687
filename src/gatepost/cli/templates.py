"""The files that `gatepost init` writes, with places for what differs (`str.format`). What fills them is in `texts`."""

from __future__ import annotations

from typing import Final

CONFIGURATION: Final = """\
# Gatepost's whole configuration. "gatepost check config" tells what is wrong with it, "gatepost reload" puts a change
# to work. Durations are "30s" "5m" "2h" "7d", sizes "50MB" or "50MiB"; relative paths start at this file's folder.

# The name of this host in the DNS: its address should resolve to it, and it to its address.
hostname = "{hostname}"
# Mail, accounts, queue and record: what has to survive, and what a backup holds.
data = "{data}"
# Started by root, the server drops to this user after it has bound its ports.
{user_line}
# Never banned, and believed where a listener takes PROXY or XCLIENT. No right to relay comes with it.
trusted = ["127.0.0.0/8", "::1"]
# Who gets the mail for postmaster, abuse, hostmaster and root of every domain: an account here, or any other address.
# postmaster = "you@{domain}"
{high}
[[listen]]                          # mail from other servers
address = "0.0.0.0:{ports.mx}"
service = "mx"
[[listen]]
address = "[::]:{ports.mx}"
service = "mx"

[[listen]]                          # mail from your users, who log in; TLS from the start
address = "0.0.0.0:{ports.submissions}"
service = "submissions"
[[listen]]
address = "[::]:{ports.submissions}"
service = "submissions"

[[listen]]                          # the same, with STARTTLS
address = "0.0.0.0:{ports.submission}"
service = "submission"
[[listen]]
address = "[::]:{ports.submission}"
service = "submission"

[[listen]]                          # your users fetch their mail; TLS from the start
address = "0.0.0.0:{ports.pop3s}"
service = "pop3s"
[[listen]]
address = "[::]:{ports.pop3s}"
service = "pop3s"

# A certificate for {hostname}. Without one the server makes a self-signed one, which mail programs complain about.
# It is read again when it changes.
# [tls]
# certificate = "fullchain.pem"
# key         = "key.pem"

# The domains whose mail is kept here. With relay_to = "smtp://10.0.0.5:25" it goes on to another server instead.
{domain_tables}

# Who may send to others without a login. Leave it empty unless a device cannot log in.
[relay]
networks = []
# Send everything through another server:
# smarthost = "smtps://USER@smart.example:465"
# smarthost_password = {{ file = "smarthost.secret" }}

[limits]                            # the defaults
message_size = "50MiB"
recipients   = 100                  # of a message; users may have 1000
connections  = {{ total = 20000, per_address = 50 }}
"""

UNIT: Final = """\
[Unit]
Description=Gatepost mail server
After=network-online.target nss-lookup.target
Wants=network-online.target

[Service]
Type=notify
NotifyAccess=main
ExecStart={program} --config {file} serve
ExecReload={program} --config {file} reload
# The first start may look through a large spool; the server ends its sessions within 60 seconds.
TimeoutStartSec=360
TimeoutStopSec=90
KillMode=mixed
WatchdogSec=60
Restart=on-failure
RestartSec=2
{identity}
{state}
LimitNOFILE=65536
UMask=0077

# Ports below 1024 without root
AmbientCapabilities=CAP_NET_BIND_SERVICE
CapabilityBoundingSet=CAP_NET_BIND_SERVICE

# Nothing else
NoNewPrivileges=yes
ProtectSystem=strict
ProtectHome={homes}
PrivateTmp=yes
PrivateDevices=yes
ProtectClock=yes
ProtectHostname=yes
ProtectControlGroups=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectProc=invisible
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
MemoryDenyWriteExecute=yes
RemoveIPC=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@privileged
SystemCallErrorNumber=EPERM

[Install]
WantedBy=multi-user.target
"""
