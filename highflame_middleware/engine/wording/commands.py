"""Shell commands in the arguments of a tool that destroy a machine or carry its secrets away.

Only what no task needs to run unseen: clearing a build folder is not meant.
"""

from __future__ import annotations

from .tally import Rule

__all__ = ["BLOCKS", "RULES", "THRESHOLD"]

THRESHOLD = 60
BLOCKS = 75  # the score from which Shield's rules stop a command; for injections it is 86

_S = r"[\s\"',\\]{1,6}"  # between words: arguments may be one string or a list of them
_END = r"(?=[\s\"'`;,&|)\]}\\]|$)"
_PIPE = r"(?<!\|)\|(?!\|)[\s\\\"']{0,4}(?:sudo\s{1,3})?"
_TOP = (
    r"(?:/(?:\*|\.)?|(?:~|\$home|\$\{home\}|\$env:userprofile)(?:/\*?)?|[a-z]:\\{1,4}(?:windows|users)?\\{0,4}\*?"
    r"|/(?:bin|boot|dev|etc|home|lib|opt|proc|root|sbin|srv|sys|usr|var|users|system|library|mnt|media)(?:/\*?)?)"
)
_DISK = r"(?:/dev/(?:sd|hd|nvme|vd|xvd|mmcblk|disk|rdisk|mapper)\w{0,12}|\\{2,4}\.\\{1,2}physicaldrive)"
_SHELL = r"(?:(?:ba|z|da|k|c|fi|a)?sh\b|(?:python3?|perl|ruby|node)(?: -)?(?=\s{0,4}\\{0,3}(?:[\"'`;&)]|$)))"
_SECRETS = (
    r"(?:/etc/(?:passwd|shadow|sudoers)|\.ssh\b|id_rsa|id_ed25519|\.aws/credentials|\.kube/config|\.netrc|\.npmrc|\.pypirc"
    r"|\.git-credentials|\.env\b|\.docker/config|credentials\.json|\bprintenv\b|\benv\b|wallet\.dat|\.bash_history)"
)
_SENDER = r"\b(?:curl|wget|nc|ncat|netcat|scp|rsync|ftp|invoke-webrequest|iwr|socat)\b"
_UPLOAD = r"(?:@|-d\b|--data\S{0,12}|-f\b|-t\b|--upload-file|--post-file=?|<|open\(|=)"

RULES: tuple[Rule, ...] = (
    # Nothing left
    Rule(
        "recursive_delete",
        90,
        "rm",
        rf"rm{_S}(?:-[a-z-]{{1,20}}{_S}){{1,5}}(?:[^\s\"']{{1,60}}{_S}){{0,3}}?{_TOP}{_END}",
    ),
    Rule("recursive_delete", 90, "rmtree", rf"rmtree\(\\{{0,2}}[\"']{_TOP}{_END}"),
    Rule(
        "recursive_delete", 90, "remove-item|rd /s|rmdir /s|del /", rf"[a-z-]{{1,24}}[^|;]{{0,60}}?{_S}{_TOP}{_END}"
    ),
    Rule("recursive_delete", 80, "find", rf"find{_S}{_TOP}{_S}[^|;]{{0,80}}?(?:-delete|-exec{_S}(?:rm|shred))\b"),
    Rule("disk_overwritten", 90, "dd", rf"dd{_S}[^|;]{{0,120}}?of={_DISK}"),
    Rule("disk_overwritten", 90, "> /dev/|>/dev/|tee /dev/", rf"(?:>|tee) ?{_DISK}"),
    Rule("disk_overwritten", 90, "shred|wipefs|blkdiscard", rf"[a-z]{{1,20}}{_S}[^|;]{{0,60}}?{_DISK}"),
    Rule("disk_formatted", 90, "mkfs|mke2fs", rf"mk\w{{1,24}}(?:\.\w{{1,8}})?{_S}[^|;]{{0,60}}?/dev/"),
    Rule("disk_formatted", 90, "format", r"format [a-z]:(?:[\s/\"'\\]|$)"),
    Rule("database_dropped", 70, "drop database|drop schema", r"drop \w{1,24} (?:if exists )?[\w\"`\\]{1,64}"),
    # Nothing works
    Rule("fork_bomb", 90, ":()", r":\(\)\s{0,2}\{\s{0,2}:\s{0,2}\|\s{0,2}:\s{0,2}&\s{0,2}\}"),
    Rule(
        "opened_to_all", 80, "chmod|chown", rf"ch\w{{1,24}}{_S}(?:-\w{{1,24}}{_S}){{0,3}}\S{{1,20}}{_S}{_TOP}{_END}"
    ),
    Rule("defence_off", 60, "iptables -f|ufw disable|setenforce 0|set-mppreference -disablerealtimemonitoring"),
    Rule("history_wiped", 60, "history -c|unset histfile"),
    # Somebody else's code
    Rule(
        "piped_to_shell",
        80,
        "curl|wget|iwr|irm|invoke-webrequest",
        rf"[a-z-]{{1,24}}\s[^|]{{0,200}}?{_PIPE}(?:{_SHELL}|iex\b)",
    ),
    Rule(
        "piped_to_shell",
        80,
        "curl|wget",
        r"\w{1,24} ",
        r"(?:\b(?:sh|bash|zsh|source|eval)\b[^|;&]{0,12}(?:<\(|\$\(|`))\s?$",
    ),
    Rule(
        "piped_to_shell",
        80,
        "iex|invoke-expression",
        r"[a-z-]{1,24}\W{1,4}(?:new-object|iwr|irm|curl|invoke-webrequest)\b",
    ),
    Rule("decoded_to_shell", 80, "base64", rf"base64\s[^|]{{0,40}}?-(?:d|-decode)\b[^|]{{0,40}}?{_PIPE}{_SHELL}"),
    Rule(
        "decoded_to_shell",
        80,
        "-enc|-e ",
        r"-e(?:nc|ncodedcommand)?\s{1,3}[a-z0-9+/=]{40}",
        r"powershell[^|;]{0,60}$",
    ),
    # Somebody else's hands
    Rule("reverse_shell", 90, "/dev/tcp/|/dev/udp/", r"/dev/\w{1,24}/[\w.$-]{1,60}/[\d$]"),
    Rule(
        "reverse_shell",
        90,
        "nc|ncat|netcat",
        rf"n\w{{1,24}}{_S}[^|;]{{0,60}}?(?:-\w?[ec]|--exec|--sh-exec){_S}\S{{0,12}}(?:sh|cmd)\b",
    ),
    Rule(
        "reverse_shell",
        90,
        "mkfifo|mknod",
        r"mk\w{1,24}\s.{0,160}?\bsh\b.{0,60}?\b(?:nc|ncat|netcat|openssl|telnet)\b",
    ),
    Rule(
        "reverse_shell",
        90,
        "socket",
        r"socket.{0,220}?(?:dup2|pty\.spawn|subprocess\.(?:call|popen|run)\W{1,6}/bin/)",
    ),
    Rule("reverse_shell", 90, "socat", r"socat\s.{0,80}?exec:"),
    Rule("key_planted", 80, "authorized_keys|/etc/sudoers|/etc/passwd", before=r"(?:>|\btee\s)[^|;>]{0,40}$"),
    # Secrets on their way out
    Rule(
        "secrets_sent",
        80,
        "cat|tar|zip|base64|gpg|env|printenv|grep",
        rf".{{0,90}}?{_SECRETS}.{{0,90}}?{_PIPE}{_SENDER}",
    ),
    Rule(
        "secrets_sent",
        80,
        "tar|zip|gpg",
        rf".{{0,90}}?{_SECRETS}.{{0,90}}?(?:&&|;).{{0,20}}?{_SENDER}.{{0,40}}?{_UPLOAD}",
    ),
    Rule(
        "secrets_sent",
        80,
        "curl|wget|nc|requests.post",
        rf"[a-z.]{{1,24}}.{{0,120}}?{_UPLOAD}[\s\"'\\@]{{0,6}}[^\s\"']{{0,40}}?{_SECRETS}",
    ),
    Rule(
        "secrets_sent",
        80,
        "curl|wget",
        rf"\w{{1,24}}\s.{{0,160}}?(?:\$\(|`)\s?(?:cat|base64|env|printenv).{{0,60}}?{_SECRETS}",
    ),
    Rule(
        "secrets_sent",
        80,
        "scp|rsync",
        rf"\w{{1,24}}{_S}[^|;]{{0,60}}?{_SECRETS}[^|;]{{0,60}}?[\s\"'][\w.-]{{1,40}}(?:@[\w.-]{{1,60}})?:",
    ),
)
