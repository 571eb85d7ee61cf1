"""Credentials that can be told by their form: a literal to look for, and the characters around it.

Only the long words of a text are searched for the literals, so the table may be
long. No credential has a white space, a quote or a backslash in it, so taking one
out never breaks JSON.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise

from .finding import Finding, run_of

__all__ = ["FORMATS", "Format", "find", "starts_token"]

_WORD = r"[\w-]"
_DOTTED = r"[\w-]|\.(?=[\w-])"  # a dot within, not the one that ends a sentence
_HEX = "0123456789abcdefABCDEF"
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_SYMBOLS = _LETTERS + "0123456789_-"
_SHORTEST = 12  # characters: no word with a credential in it is shorter
_LITERAL = 96  # characters that a literal may stand before the credential that it announces


@dataclass(frozen=True, slots=True)
class Format:
    """One form of a credential.

    ``pattern`` begins with one of the ``literals``, which have spaces between them; when it has a
    group, that alone is the credential. ``before`` says which characters, and how few and how many
    of them, stand in front of it; ``tail`` is what may follow without end, as a pattern for one
    character; ``plausible`` has the last word.
    """

    type: str
    literals: str
    pattern: str
    tail: str = ""
    before: tuple[str, int, int] | None = None
    plausible: Callable[[str], bool] | None = None


def _random(text: str) -> bool:
    """Whether this looks drawn and not written: letters, digits and cases change within its words."""
    if not any(map(text.count, "0123456789")) and text.islower():
        return False
    pairs = [(one, two) for one, two in pairwise(text) if one.isalnum() and two.isalnum()]
    changes = sum(one.isdigit() != two.isdigit() for one, two in pairs)
    cases = sum(one.islower() and two.isupper() for one, two in pairs)
    return changes + cases >= 3 and (changes > 0 or cases >= 6)


def _chosen(text: str) -> bool:
    """Whether a password in an address is more than what documentation writes there."""
    lowered = text.lower()
    return not (
        lowered in {"password", "passwd", "pass", "pwd", "secret", "token", "pw", "changeme", "postgres", "root"}
        or lowered[0] in "$%"
        or "xxx" in lowered
        or "***" in lowered
    )


def _snowflake(text: str) -> bool:
    return text[0] in "MNO" and any(character.isdigit() for character in text)


FORMATS: tuple[Format, ...] = (
    # Clouds and hosting
    Format("aws_access_key", "AKIA ASIA ABIA ACCA", r"A[KSBC][IC]A[A-Z0-9]{16}(?![A-Za-z0-9])"),
    Format("aws_secret_key", "AKIA ASIA", r"A[KS]IA[A-Z0-9]{16}[\s,:;|/\"'\\]{1,6}([A-Za-z0-9/+]{40})(?![\w/+=])"),
    Format("google_api_key", "AIza", r"AIza[\w-]{35}", _WORD),
    Format("google_oauth_token", "ya29.", r"ya29\.[\w-]{20}", _WORD),
    Format("google_oauth_secret", "GOCSPX-", r"GOCSPX-[\w-]{24}", _WORD),
    Format("azure_client_secret", "Q~", r"Q~[\w.~-]{31,34}(?![\w.~-])", before=(_SYMBOLS + ".~", 4, 4)),
    Format("azure_storage_key", "AccountKey=", r"AccountKey=([A-Za-z0-9+/]{40,88}={0,2})"),
    Format("azure_access_key", "SharedAccessKey=", r"SharedAccessKey=([A-Za-z0-9+/]{40,88}={0,2})"),
    Format("alibaba_access_key", "LTAI", r"LTAI[A-Za-z0-9]{16,26}(?![A-Za-z0-9])", plausible=_random),
    Format("tencent_secret_id", "AKID", r"AKID[A-Za-z0-9]{32}(?![A-Za-z0-9])", plausible=_random),
    Format("yandex_token", "AQVN", r"AQVN[\w-]{35,38}(?!\w)", plausible=_random),
    Format("digitalocean_token", "dop_v1_ doo_v1_ dor_v1_", r"do[por]_v1_[a-f0-9]{32}", "[A-Za-z0-9]"),
    Format("heroku_token", "HRKU-AA", r"HRKU-AA[\w-]{20}", _WORD),
    Format("fly_token", "fm1r_ fm1a_ fm2_", r"fm(?:1r|1a|2)_[A-Za-z0-9+/]{40}", "[A-Za-z0-9+/=_,-]"),
    Format("flyctl_token", "fo1_", r"fo1_[\w-]{43}", _WORD),
    Format("netlify_token", "nfp_", r"nfp_[A-Za-z0-9]{36}", _WORD),
    Format("vercel_token", "vercel_ vcp_", r"(?:vercel|vcp)_[A-Za-z0-9]{24}", _WORD, plausible=_random),
    Format("supabase_token", "sbp_ sb_secret_", r"(?:sbp_[a-f0-9]{40}|sb_secret_[\w-]{20})", _WORD),
    Format("planetscale_token", "pscale_", r"pscale_(?:tkn|pw|oauth)_[\w.=-]{32}", r"[\w.=-]"),
    Format("databricks_token", "dapi", r"dapi[a-f0-9]{32}(?:-\d)?(?![A-Za-z0-9])"),
    Format("terraform_token", ".atlasv1.", r"\.atlasv1\.[\w-]{40}", _WORD, (_SYMBOLS, 14, 14)),
    Format("vault_token", "hvs. hvb. hvr.", r"hv[sbr]\.[\w-]{24}", _WORD, plausible=_random),
    Format("pulumi_token", "pul-", r"pul-[a-f0-9]{40}(?![A-Za-z0-9])"),
    Format("doppler_token", "dp.", r"dp\.(?:pt|st|ct|sa|scim|audit)\.[A-Za-z0-9_.-]{36}", _WORD),
    Format("infracost_token", "ico-", r"ico-[A-Za-z0-9]{32}(?!\w)", plausible=_random),
    Format("openshift_token", "sha256~", r"sha256~[\w-]{43}", _WORD),
    Format("clickhouse_key", "4b1d", r"4b1d[A-Za-z0-9]{38}(?![A-Za-z0-9])", plausible=_random),
    Format("tailscale_key", "tskey-", r"tskey-[a-z]{2,10}-[A-Za-z0-9-]{16}", _WORD),
    # Code, packages, builds
    Format("github_token", "ghp_ gho_ ghu_ ghs_ ghr_", r"gh[pousr]_[A-Za-z0-9]{30}", _WORD),
    Format("github_token", "github_pat_", r"github_pat_[A-Za-z0-9]{11}\w{11}", _WORD),
    Format(
        "gitlab_token",
        "glpat- gldt- glrt- glcbt- glptt- glft- glimt- glagent- gloas- glsoat- glffct-",
        r"gl[a-z]{2,5}-[\w-]{20}",
        _DOTTED,
    ),
    Format("gitlab_token", "GR1348941", r"GR1348941[\w-]{20}", _WORD),
    Format("bitbucket_token", "ATBB", r"ATBB[A-Za-z0-9]{32}", _WORD, plausible=_random),
    Format("atlassian_token", "ATATT3 ATCTT3", r"AT[AC]TT3[\w=-]{50}", r"[\w=-]"),
    Format("npm_token", "npm_", r"npm_[A-Za-z0-9]{36}", _WORD),
    Format("pypi_token", "pypi-AgE", r"pypi-AgE[\w-]{40}", _WORD),
    Format("rubygems_token", "rubygems_", r"rubygems_[a-f0-9]{48}", _WORD),
    Format("nuget_key", "oy2", r"oy2[a-z0-9]{43}(?![A-Za-z0-9])"),
    Format("crates_token", "cio", r"cio[A-Za-z0-9]{32}(?![A-Za-z0-9])", plausible=_random),
    Format("docker_token", "dckr_", r"dckr_[po]at_[\w-]{24}", _WORD),
    Format("jfrog_token", "AKCp cmVmd", r"(?:AKCp[A-Za-z0-9]{69}|cmVmd[A-Za-z0-9]{59})(?![A-Za-z0-9])"),
    Format("circleci_token", "CCIPAT_ CCIPRJ_", r"CCIP(?:AT|RJ)_[A-Za-z0-9]{22}_[a-f0-9]{40}", _WORD),
    Format("buildkite_token", "bkua_", r"bkua_[a-z0-9]{40}", _WORD),
    Format("sourcegraph_token", "sgp_", r"sgp_(?:[a-f0-9]{16}_|local_)?[a-f0-9]{40}", _WORD),
    Format("sentry_token", "sntrys_ sntryu_", r"sntry[su]_[A-Za-z0-9+/=_]{40}", "[A-Za-z0-9+/=_]"),
    Format("postman_key", "PMAK-", r"PMAK-[a-f0-9]{24}-[a-f0-9]{34}", _WORD),
    Format("figma_token", "figd_ figo_", r"fig[do]_[\w-]{36}", _WORD),
    Format("dynatrace_token", "dt0", r"dt0[a-z]\d\d\.[A-Z0-9]{24}\.[A-Z0-9]{64}", _WORD),
    Format("new_relic_key", "NRAK- NRII- NRAL- NRJS-", r"NR(?:AK|II|AL|JS)-[A-Za-z0-9-]{19}", _WORD),
    Format("grafana_token", "glsa_ glc_", r"gl(?:sa|c)_[A-Za-z0-9+/]{32}", r"[\w+/=-]"),
    Format("grafana_key", "eyJrIjoi", r"eyJrIjoi[A-Za-z0-9+/]{40}", "[A-Za-z0-9+/=_-]"),
    # Models
    Format("anthropic_key", "sk-ant-", r"sk-ant-[\w-]{20}", _WORD),
    Format("openai_key", "sk-proj- sk-svcacct- sk-admin-", r"sk-[a-z]{4,8}-[\w-]{20}", _WORD),
    Format("openrouter_key", "sk-or-", r"sk-or-[\w-]{20}", _WORD, plausible=_random),
    Format("openai_key", "sk-", r"sk-(?!ant-|or-)[\w-]{20,80}", _WORD, plausible=_random),
    Format("hugging_face_token", "hf_ api_org_", r"(?:hf|api_org)_[A-Za-z0-9]{30}", _WORD),
    Format("groq_key", "gsk_", r"gsk_[A-Za-z0-9]{36}", _WORD),
    Format("xai_key", "xai-", r"xai-[A-Za-z0-9]{40}", _WORD),
    Format("perplexity_key", "pplx-", r"pplx-[A-Za-z0-9]{32}", _WORD),
    Format("replicate_token", "r8_", r"r8_[A-Za-z0-9]{30}", _WORD),
    Format("nvidia_key", "nvapi-", r"nvapi-[\w-]{30}", _WORD),
    Format("cerebras_key", "csk-", r"csk-[a-z0-9]{40}", _WORD),
    Format("pinecone_key", "pcsk_", r"pcsk_[A-Za-z0-9_]{30}", _WORD),
    Format("langsmith_key", "lsv2_ ls__", r"(?:lsv2_(?:pt|sk)_[a-f0-9]{32}|ls__[a-f0-9]{32})", _WORD),
    Format("tavily_key", "tvly-", r"tvly-[A-Za-z0-9-]{20}", _WORD, plausible=_random),
    Format("fireworks_key", "fw_", r"fw_[A-Za-z0-9]{20,24}(?!\w)", plausible=_random),
    Format("elevenlabs_key", "sk_", r"sk_[a-f0-9]{48}(?![A-Za-z0-9])"),
    Format("highflame_key", "zid_sk_ hf_sk_", r"(?:zid|hf)_sk_[\w-]{8}", _WORD),
    Format("highflame_key", "hfa_", r"hfa_[\w-]{16}", _WORD, plausible=_random),
    # Talk, mail, work
    Format("slack_token", "xox xapp-", r"(?:xox[abeoprs]-(?:\d-)?|xapp-\d-)[A-Za-z0-9-]{10}", _WORD),
    Format(
        "slack_webhook",
        "hooks.slack.com/",
        r"hooks\.slack\.com/(?:services|workflows|triggers)/[A-Za-z0-9/]{20}",
        "[A-Za-z0-9/]",
        ("https:/", 0, 8),
    ),
    Format(
        "discord_webhook",
        "/api/webhooks/",
        r"/api/webhooks/\d{15,21}/[\w-]{50}",
        _WORD,
        (_LETTERS + ".:/", 0, 30),
    ),
    Format(
        "discord_token",
        ".",
        r"\.[\w-]{6}\.[\w-]{27,40}(?!\w)",
        before=(_SYMBOLS, 23, 28),
        plausible=_snowflake,
    ),
    Format("telegram_bot_token", ":A", r":A[\w-]{32,36}(?!\w)", before=("0123456789", 8, 11)),
    Format("twilio_key", "SK", r"SK[a-f0-9]{32}(?![A-Za-z0-9])"),
    Format("sendgrid_key", "SG.", r"SG\.[\w-]{16,32}\.[\w-]{16}", _WORD),
    Format("mailgun_key", "key-", r"key-[a-f0-9]{32}(?![A-Za-z0-9])", before=("pub", 0, 3)),
    Format("mailchimp_key", "-us", r"-us\d{1,2}(?![A-Za-z0-9])", before=(_HEX, 32, 32)),
    Format("brevo_key", "xkeysib-", r"xkeysib-[a-f0-9]{64}", _WORD),
    Format("resend_key", "re_", r"re_[A-Za-z0-9]{6,10}_[A-Za-z0-9]{20}", _WORD, plausible=_random),
    Format("notion_token", "ntn_ secret_", r"(?:ntn|secret)_[A-Za-z0-9]{40}", _WORD, plausible=_random),
    Format("linear_key", "lin_api_ lin_oauth_", r"lin_(?:api|oauth)_[A-Za-z0-9]{32}", _WORD),
    Format("airtable_token", "pat", r"pat[A-Za-z0-9]{14}\.[a-f0-9]{64}(?![A-Za-z0-9])"),
    Format("hubspot_token", "pat-na pat-eu", r"pat-(?:na|eu)\d-[a-f0-9-]{36}", _WORD),
    Format("typeform_token", "tfp_", r"tfp_[\w.-]{40}", _DOTTED),
    Format("contentful_token", "CFPAT-", r"CFPAT-[\w-]{43}", _WORD),
    Format("readme_token", "rdme_", r"rdme_[a-z0-9]{70}", _WORD),
    Format("defined_token", "dnkey-", r"dnkey-[A-Z0-9=_-]{26}-[A-Z0-9=_-]{52}", r"[\w=-]"),
    Format("settlemint_token", "sm_pat_ sm_aat_ sm_sat_", r"sm_[pas]at_[A-Za-z0-9]{16}", _WORD),
    Format("prefect_key", "pnu_ pnb_", r"pn[ub]_[A-Za-z0-9]{36}", _WORD),
    # Money and shops
    Format("stripe_key", "sk_live_ sk_test_ rk_live_ rk_test_", r"[sr]k_[a-z]{4}_[A-Za-z0-9]{16}", _WORD),
    Format("stripe_webhook", "whsec_", r"whsec_[A-Za-z0-9+/]{24}", "[A-Za-z0-9+/=]"),
    Format("shopify_token", "shpat_ shpca_ shppa_ shpss_", r"shp(?:at|ca|pa|ss)_[a-fA-F0-9]{32}", _WORD),
    Format("square_token", "sq0atp- sq0csp- sq0idp-", r"sq0[a-z]{3}-[\w-]{22}", _WORD),
    Format("maxmind_key", "_mmk", r"_mmk(?![A-Za-z0-9])", before=(_SYMBOLS, 36, 36)),
    Format("flutterwave_key", "FLWSECK", r"FLWSECK(?:_TEST)?-[a-h0-9]{12}", _WORD),
    Format("duffel_token", "duffel_", r"duffel_(?:test|live)_[\w=-]{43}", r"[\w=-]"),
    Format("facebook_token", "EAA", r"EAA[A-Za-z0-9]{80}", "[A-Za-z0-9]", plausible=_random),
    # Any
    Format(
        "url_password",
        "://",
        r"://[!$%&*+\-.\w~]{0,64}:([!$%&()*+,\-.:;=@^\w|~]{3,128})@(?=[A-Za-z0-9\[])",
        before=(_SYMBOLS + "+.", 2, 20),
        plausible=_chosen,
    ),
    Format("jwt", "eyJ", r"eyJ[\w-]{13,900}+\.[\w-]{13}", _DOTTED),
    Format("age_secret_key", "AGE-SECRET-KEY-1", r"AGE-SECRET-KEY-1[A-Z0-9]{40}", "[A-Z0-9]"),
)


def find(text: str, start: int = 0) -> Iterator[Finding]:
    """The credentials of a folded text from ``start`` on that are told by their form.

    >>> [(found.start, found.type) for found in find("key: " + "ghp_" + "a1B2" * 9)]
    [(5, 'github_token')]
    """
    start = max(0, start - _LITERAL)
    words = " ".join([word for word in text[start:].split() if len(word) >= _SHORTEST])
    if words:
        for literal, form in _rows():
            if literal in words:
                yield from _occurrences(form, literal, text, start)


def _occurrences(form: Format, literal: str, text: str, at: int) -> Iterator[Finding]:
    pattern = _compiled(form.pattern)
    tail = run_of(form.tail) if form.tail else None
    at = text.find(literal, at)
    while at >= 0:
        if (start := _start(form, text, at)) is not None and (matched := pattern.match(text, at)):
            begin, end = matched.span(matched.lastindex or 0)
            start = begin if matched.lastindex else start
            if form.plausible is None or form.plausible(text[start:end]):
                if tail is not None:
                    end, _ = tail(text, end, True)
                yield Finding(start, end, form.type, tail=tail)
                at = end - 1
        at = text.find(literal, at + 1)


def _start(form: Format, text: str, at: int) -> int | None:
    """Where the credential begins whose literal stands at ``at``; None when what stands before does not fit."""
    if form.before is not None:
        characters, fewest, most = form.before
        ahead = text[max(0, at - most - 2) : at]
        length = len(ahead) - len(ahead.rstrip(characters))
        if length and not starts_token(text, at - length):
            length -= 1  # the letter of an escape, as in "\\nkey"
        if not fewest <= length <= most:
            return None
        at -= length
    return at if starts_token(text, at) else None


def starts_token(text: str, at: int) -> bool:
    r"""Whether a word begins here, be it after an escape as in ``"one\ntwo"``; never inside of an escape."""
    before = text[at - 1 : at]
    if before == "\\":
        return not _escaped(text, at) or text[at] not in "nrtbfu"
    if not (before.isascii() and before.isalnum()):
        return True
    if before in "nrtbf" and _escaped(text, at - 1):
        return True
    return at >= 6 and text[at - 5] == "u" and _escaped(text, at - 5) and not text[at - 4 : at].strip(_HEX)


def _escaped(text: str, at: int) -> bool:
    ahead = text[max(0, at - 9) : at]
    return (len(ahead) - len(ahead.rstrip("\\"))) % 2 == 1


@functools.cache
def _rows() -> tuple[tuple[str, Format], ...]:
    return tuple((literal, form) for form in FORMATS for literal in form.literals.split())


@functools.cache
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.ASCII)
