"""The forms of credentials, one row each, as their issuers document them.

A row costs next to nothing in a text that holds none of its literals, so the table may be long.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

__all__ = ["FORMATS", "Format"]

_WORD = r"[\w-]"
_DOTTED = r"[\w-]|\.(?=[\w-])"  # a dot within, not the one that ends a sentence
_BASE64 = "[A-Za-z0-9+/=_-]"
_HEX = "0123456789abcdefABCDEF"
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_SYMBOLS = _LETTERS + "0123456789_-"
_BASE64S = _LETTERS + "0123456789+/"
_UUID = r"[a-f0-9]{8}-[a-f0-9]{4}-[a-f0-9]{4}-[a-f0-9]{4}-[a-f0-9]{12}"
_END = r"(?![A-Za-z0-9])"


@dataclass(frozen=True, slots=True)
class Format:
    """One form of a credential.

    ``pattern`` begins with one of the ``literals``, which have spaces between them; when it has a
    group, that alone is the credential. ``before`` says which characters, and how few and how many
    of them, stand in front of it; ``tail`` is what may follow without end, as a pattern for one
    character; ``plausible`` has the last word. Where the literal is a common one, ``run`` says how many
    letters and digits stand side by side somewhere in the credential, which few words have.
    """

    type: str
    literals: str
    pattern: str
    tail: str = ""
    before: tuple[str, int, int] | None = None
    plausible: Callable[[str], bool] | None = None
    run: int = 0


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


def _no_example(text: str) -> bool:
    """Whether this is none of the keys that documentation shows, which say so themselves."""
    return "EXAMPLE" not in text


def _snowflake(text: str) -> bool:
    return text[0] in "MNO" and any(character.isdigit() for character in text)


FORMATS: tuple[Format, ...] = (
    # Clouds and hosting
    Format(
        "aws_access_key", "AKIA ASIA ABIA ACCA", r"A[KSBC][IC]A[A-Z0-9]{16}(?![A-Za-z0-9])", plausible=_no_example
    ),
    Format(
        "aws_secret_key",
        "AKIA ASIA",
        r"A[KS]IA[A-Z0-9]{16}[\s,:;|/\"'\\]{1,6}([A-Za-z0-9/+]{40})(?![\w/+=])",
        plausible=_no_example,
    ),
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
    Format(
        "aws_bedrock_key", "ABSK bedrock-api-key-", r"(?:ABSK|bedrock-api-key-)[A-Za-z0-9+/]{60}", "[A-Za-z0-9+/=]"
    ),
    Format(
        "aws_session_token",
        "FwoGZXIvYXdz FQoGZXIvYXdz IQoJb3JpZ2lu",
        r"[FI][QwoJ]\w{10}[\w+/]{60}",
        "[A-Za-z0-9+/=]",
    ),
    Format("amazon_oauth_secret", "amzn1.oa2-cs.v1.", r"amzn1\.oa2-cs\.v1\.[a-f0-9]{64}", _WORD),
    Format("amazon_mws_token", "amzn.mws.", rf"amzn\.mws\.{_UUID}", _WORD),
    Format("alibaba_access_key", "STS.", r"STS\.[A-Za-z0-9]{20}", "[A-Za-z0-9]", plausible=_random),
    Format("google_api_key", "AQ.Ab8", r"AQ\.Ab8[\w-]{40}", _WORD),
    Format("google_oauth_token", "1//0", r"1//0[\w-]{40}", _WORD),
    Format("firebase_server_key", ":APA91b", r":APA91b[\w-]{100}", _WORD, (_SYMBOLS, 11, 11)),
    Format("google_signed_url", "X-Goog-Signature=", r"X-Goog-Signature=([a-f0-9]{64})", "[a-f0-9]"),
    Format("aws_signed_url", "X-Amz-Signature=", r"X-Amz-Signature=([a-f0-9]{64})(?![A-Za-z0-9])"),
    Format("azure_signed_url", "sig=", r"sig=([A-Za-z0-9+/%]{38,120}(?:%3[Dd]|=))"),
    Format(
        "azure_devops_token", "AZDO", r"AZDO[A-Za-z0-9]{4}(?![A-Za-z0-9])", before=(_LETTERS + "0123456789", 76, 76)
    ),
    Format(
        "azure_access_key",
        "JQQJ9",
        r"JQQJ9[A-Za-z0-9]{27}(?![A-Za-z0-9])",
        before=(_LETTERS + "0123456789", 52, 52),
    ),
    Format("azure_storage_key", "+ASt ACDb", r"(?:\+ASt|ACDb)[A-Za-z0-9/+]{5}[AQgw]==", before=(_BASE64S, 76, 76)),
    Format(
        "azure_access_key", "+ASb +AEh AIoT", r"(?:\+ASb|\+AEh|AIoT)[A-Za-z0-9/+]{5}=", before=(_BASE64S, 33, 34)
    ),
    Format("azure_access_key", "+ABa APIM", r"(?:\+ABa|APIM)[A-Za-z0-9/+]{5}[AQgw]==", before=(_BASE64S, 76, 76)),
    Format("azure_access_key", "AzCa", r"AzCa[A-P][A-Za-z0-9]{5}=", before=(_LETTERS + "0123456789", 33, 33)),
    Format(
        "azure_access_key",
        "AzSe",
        r"AzSe[A-D][A-Za-z0-9]{5}(?![A-Za-z0-9])",
        before=(_LETTERS + "0123456789", 42, 42),
    ),
    Format("azure_access_key", "+ACR", r"\+ACR[A-D][A-Za-z0-9]{5}(?![A-Za-z0-9])", before=(_BASE64S, 42, 42)),
    Format("azure_access_key", "AzFu", r"AzFu[\w-]{5}[AQgw]==", before=(_SYMBOLS, 44, 44)),
    Format("digitalocean_token", "DO00 DO80", r"DO[08]0[A-Z0-9]{16}(?![A-Za-z0-9])", plausible=_random),
    Format("scaleway_key", "SCW", r"SCW[A-Z0-9]{17}(?![A-Za-z0-9])", plausible=_random),
    Format("cloudflare_token", "cfut_ cfat_ cfk_", r"cf(?:ut|at|k)_[A-Za-z0-9]{40}", _WORD),
    Format("cloudflare_origin_key", "v1.0-", r"v1\.0-[a-f0-9]{24}-[a-f0-9]{146}", _WORD),
    Format("render_key", "rnd_", r"rnd_[A-Za-z0-9]{28}", _WORD, plausible=_random),
    Format("deno_token", "ddp_ ddw_", r"dd[pw]_[A-Za-z0-9]{36}", _WORD),
    Format("netlify_token", "nfc_ nfo_ nfu_ nfb_", r"nf[cobu]_[A-Za-z0-9]{36}", _WORD),
    Format("vercel_token", "vck_ vci_ vca_ vcr_", r"vc[kiar]_[A-Za-z0-9]{24}", _WORD, plausible=_random),
    Format("neon_key", "napi_ npg_", r"(?:napi_[a-z0-9]{40}|npg_[A-Za-z0-9]{12})", _WORD, plausible=_random),
    Format("supabase_token", "sbp_oauth_ sbp_v0_", r"sbp_(?:oauth|v0)_[a-f0-9]{40}", _WORD),
    Format("xata_key", "xau_", r"xau_[A-Za-z0-9]{30}", _WORD, plausible=_random),
    Format("aiven_password", "AVNS_", r"AVNS_[\w-]{16}", _WORD),
    Format("cockroach_key", "CCDB1_", r"CCDB1_[A-Za-z0-9]{22}_[A-Za-z0-9]{40}", _WORD),
    Format("mongodb_secret", "mdb_sa_sk_", r"mdb_sa_sk_[\w-]{32}", _WORD),
    Format("astra_token", "AstraCS:", r"AstraCS:[A-Za-z]{24}:[a-f0-9]{64}", _WORD),
    Format("confluent_secret", "cflt", r"cflt[A-Za-z0-9+/]{56}", "[A-Za-z0-9+/=]", plausible=_random),
    Format("databricks_token", "dose dkea", r"(?:dose|dkea)[a-f0-9]{32}(?:-\d)?(?![A-Za-z0-9])"),
    Format("terraform_token", "atlasv1.", r"atlasv1\.[\w-]{60}", _WORD),
    Format("vault_token", "s.", r"s\.[A-Za-z0-9]{24}(?![A-Za-z0-9.(])", plausible=_random),
    Format("infisical_token", "st.", r"st\.[a-f0-9]{24}\.[a-f0-9]{32}\.[a-f0-9]{32}", _WORD),
    Format("onepassword_token", "ops_eyJ", r"ops_eyJ[\w+/=-]{80}", _BASE64),
    Format(
        "onepassword_secret_key",
        "A3-",
        r"A3-[A-Z0-9]{6}-(?:[A-Z0-9]{11}|[A-Z0-9]{6}-[A-Z0-9]{5})(?:-[A-Z0-9]{5}){3}(?![A-Z0-9])",
    ),
    Format("doppler_token", "dp.", r"dp\.(?:said|st\.[a-z0-9_-]{1,35}|ct|pt)\.[A-Za-z0-9]{36}", _WORD),
    Format("tailscale_key", "tskey-", r"tskey-[A-Za-z0-9-]{24}", _WORD, plausible=_random),
    Format("rancher_token", "token-", r"token-[a-z0-9]{5}:[a-z0-9]{50}", _WORD),
    Format("portainer_token", "ptr_", r"ptr_[A-Za-z0-9+/]{43}", "[A-Za-z0-9+/=]", plausible=_random),
    Format("harness_token", "pat. sat.", r"[ps]at\.[\w-]{22}\.[a-f0-9]{24}\.[A-Za-z0-9]{20}", _WORD),
    Format("volcengine_key", "AKLT", r"AKLT[A-Za-z0-9+/=_-]{36}", _BASE64, plausible=_random),
    Format("baidu_key", "bce-v3/ALTAK-", r"bce-v3/ALTAK-[A-Za-z0-9]{21}/[a-f0-9]{40}", _WORD),
    Format(
        "yandex_token",
        "y0_ YCAJE YCO YCM YCN YCP",
        r"(?:y0_[\w-]{50,60}|YC[A-Z][\w-]{37})(?!\w)",
        plausible=_random,
    ),
    Format("yandex_token", "t1.", r"t1\.[\w-]{8,200}={0,2}\.[\w-]{86}={0,2}", plausible=_random),
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
    Format("gitlab_token", "glrtr- glwt- gltok-", r"gl(?:rtr|wt|tok)-[\w-]{20}", _DOTTED),
    Format("gitlab_token", "_gitlab_session=", r"_gitlab_session=([a-f0-9]{32})(?![A-Za-z0-9])"),
    Format("atlassian_token", "ATTA", r"ATTA[a-f0-9]{64}", _WORD),
    Format("bitbucket_token", "ATCTT3xFfG", r"ATCTT3xFfG[\w=-]{40}", r"[\w=-]"),
    Format("jsr_token", "jsrp_ jsrd_", r"jsr[pd]_[A-Za-z0-9]{24}", _WORD),
    Format("packagist_token", "packagist_", r"packagist_[ou][ru]t_[a-f0-9]{64}", _WORD),
    Format("clojars_token", "CLOJARS_", r"CLOJARS_[a-z0-9]{60}", _WORD),
    Format("octopus_key", "API-", r"API-[A-Z0-9]{25,36}(?![A-Za-z0-9])", plausible=_random),
    Format("wakatime_key", "waka_", rf"waka_{_UUID}{_END}"),
    Format("expo_token", "exp_", r"exp_[\w-]{40}", _WORD, plausible=_random),
    Format("scalingo_token", "tk-us-", r"tk-us-[\w-]{48}", _WORD),
    Format("ubidots_token", "BBFF- BBUS-", r"BB(?:FF|US)-[A-Za-z0-9]{30}", _WORD),
    Format("adafruit_key", "aio_", r"aio_[A-Za-z0-9]{28}(?!\w)", plausible=_random),
    Format("riot_key", "RGAPI-", rf"RGAPI-{_UUID}{_END}"),
    Format(
        "roblox_cookie",
        "_|WARNING:-DO-NOT-SHARE-THIS",
        r"_\|WARNING:-DO-NOT-SHARE-THIS[\w.-]{1,160}\|_[A-Za-z0-9]{60}",
        "[A-Za-z0-9]",
    ),
    Format("spacelift_token", "spct_", r"spct_[A-Za-z0-9]{30}", _WORD),
    Format("jumpcloud_key", "jca_", r"jca_[A-Za-z0-9]{36}", _WORD),
    Format("stytch_secret", "secret-live- secret-test-", r"secret-(?:live|test)-[\w=-]{32}", r"[\w=-]"),
    Format("secret_uri", "secret-token:", r"secret-token:[\w.~!$&'()*+,;=:@%-]{12}", r"[\w.~!$&*+=:@%-]"),
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
    Format("anthropic_key", "sk-ant", r"sk-ant\d\d-[\w-]{40}", _WORD),
    Format("together_key", "tgp_v1_", r"tgp_v1_[\w-]{36}", _WORD),
    Format("anyscale_key", "esecret_", r"esecret_[A-Za-z0-9]{24}", _WORD),
    Format("modal_token", "ak- as- wk- ws-", r"[aw][ks]-[A-Za-z0-9]{22}(?![\w-])", plausible=_random),
    Format("runpod_key", "rpa_", r"rpa_[A-Za-z0-9]{36}", _WORD),
    Format("voyage_key", "pa-", r"pa-[\w-]{43}(?![\w-])", plausible=_random),
    Format("jina_key", "jina_", r"jina_[A-Za-z0-9]{32}[\w-]{16}", _WORD),
    Format("cartesia_key", "sk_car_", r"sk_car_[\w-]{20}", _WORD, plausible=_random),
    Format("wandb_key", "wandb_v1_", r"wandb_v1_[\w-]{40}", _WORD),
    Format("e2b_key", "e2b_", r"e2b_[a-f0-9]{40}", _WORD),
    Format("firecrawl_key", "fc-", r"fc-[a-f0-9]{32}(?![A-Za-z0-9])"),
    Format("browserbase_key", "bb_live_ bb_test_", r"bb_(?:live|test)_[\w-]{20}", _WORD),
    Format("apify_token", "apify_api_ apify_proxy_", r"apify_(?:api|proxy)_[A-Za-z0-9]{30}", _WORD),
    Format("mem0_key", "m0-", r"m0-[A-Za-z0-9]{36,44}(?!\w)", plausible=_random),
    Format("llamacloud_key", "llx-", r"llx-[A-Za-z0-9]{40}", _WORD),
    Format("cursor_key", "key_ crsr_", r"(?:key|crsr)_[a-f0-9]{60}", _WORD),
    Format("upstage_key", "up_", r"up_[A-Za-z0-9]{28,32}(?!\w)", plausible=_random),
    Format("friendli_token", "flp_", r"flp_[A-Za-z0-9]{40}", _WORD),
    Format("lambda_key", "secret_", r"secret_[\w-]{16,60}\.[A-Za-z0-9]{24,64}(?!\w)", plausible=_random),
    Format("zep_key", "z_1dWlk", r"z_1dWlk[\w.-]{60}", _DOTTED),
    Format("composio_key", "ak_", r"ak_[\w-]{20,40}(?![\w-])", plausible=_random),
    Format("inngest_key", "signkey-", r"signkey-[a-z]{2,12}-[a-f0-9]{40}", _WORD),
    Format("trigger_key", "tr_dev_ tr_prod_ tr_stg_ tr_preview_ tr_pat_", r"tr_[a-z]{3,7}_[A-Za-z0-9]{20}", _WORD),
    Format("liveblocks_key", "sk_dev_ sk_prod_", r"sk_(?:dev|prod)_[\w-]{30}", _WORD, plausible=_random),
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
    Format("slack_token", "xoxc- xoxd- xoxe.", r"xox(?:[cd]-|e\.xox[bp]-)[A-Za-z0-9%/+-]{20}", "[A-Za-z0-9%/+=-]"),
    Format(
        "slack_webhook",
        "hooks.slack-gov.com/",
        r"hooks\.slack-gov\.com/[a-z]{8,9}/[A-Za-z0-9/]{20}",
        "[A-Za-z0-9/]",
        ("https:/", 0, 8),
    ),
    Format(
        "teams_webhook",
        ".webhook.office.com/",
        rf"\.webhook\.office\.com/webhookb2/{_UUID}@{_UUID}/IncomingWebhook/[a-f0-9]{{32}}/{_UUID}",
        r"[\w/-]",
        (_SYMBOLS + ":/.", 1, 60),
    ),
    Format(
        "zapier_webhook",
        "hooks.zapier.com/hooks/catch/",
        r"hooks\.zapier\.com/hooks/catch/\d{4,12}/[a-z0-9]{5,12}",
        _WORD,
        ("https:/", 0, 8),
    ),
    Format("twilio_key", "twilio-", r"twilio-[a-z]{2,8}-[A-Za-z0-9]{30}", _WORD, plausible=_random),
    Format("mailgun_key", "-", rf"-[a-f0-9]{{8}}-[a-f0-9]{{8}}{_END}", before=("0123456789abcdef", 32, 32), run=32),
    Format("brevo_key", "xsmtpsib-", r"xsmtpsib-[a-f0-9]{64}", _WORD),
    Format("mailersend_token", "mlsn.", r"mlsn\.[a-f0-9]{60}", _WORD),
    Format("mandrill_key", "md-", r"md-[\w-]{22}(?![\w-])", plausible=_random),
    Format("klaviyo_key", "pk_", r"pk_[a-f0-9]{34}(?![A-Za-z0-9])"),
    Format("clickup_token", "pk_", r"pk_\d{5,12}_[A-Z0-9]{32}(?![A-Za-z0-9])"),
    Format("intercom_token", "dG9rO", r"dG9rO[A-Za-z0-9+/]{50}", "[A-Za-z0-9+/=]"),
    Format("salesforce_token", "00D", r"00D[A-Za-z0-9]{12,15}!(A[\w.]{60})", r"[\w.]"),
    Format("salesforce_key", "3MVG9", r"3MVG9[\w.]{70}", r"[\w.]"),
    Format(
        "asana_token", "/", r"/\d{15,20}(?:/\d{15,20})?:[a-f0-9]{32}(?![A-Za-z0-9])", before=("012", 1, 1), run=32
    ),
    Format(
        "airtable_token",
        "key",
        r"key[A-Za-z0-9]{14}(?!\w)",
        plausible=lambda text: _random(text[3:]) and not text.islower(),
    ),
    Format("dropbox_token", "sl.", r"sl\.(?:u\.)?[\w-]{100}", _WORD),
    Format("pinterest_token", "pina_", r"pina_[A-Za-z0-9]{30}", _WORD),
    Format("instagram_token", "IGQV IGQW IGAA", r"IG(?:Q[VW]|AA)[\w-]{80}", _WORD, plausible=_random),
    Format("facebook_token", "|", r"\|[\w-]{27}(?![\w-])", before=("0123456789", 15, 16), plausible=_random),
    Format(
        "twitter_token",
        "AAAAAAAAAAAAAAAAAAAA",
        r"A{20,26}[A-Za-z0-9%]{50}",
        "[A-Za-z0-9%]",
        plausible=lambda text: _random(text[20:]),
    ),
    Format(
        "twitter_token", "-", r"-[A-Za-z0-9]{40}(?![\w-])", before=("0123456789", 8, 20), plausible=_random, run=40
    ),
    Format("vk_token", "vk1.a.", r"vk1\.a\.[\w-]{80}", _WORD),
    Format("tiktok_token", "act. clt.", r"(?:act|clt)\.[A-Za-z0-9]{40}", "[A-Za-z0-9!.]", plausible=_random),
    Format("linkedin_secret", "WPL_AP1.", r"WPL_AP1\.[A-Za-z0-9]{16}", r"[\w.=-]"),
    Format("frameio_token", "fio-u-", r"fio-u-[\w-]{60}", _WORD),
    Format("intra42_secret", "s-s4t2", r"s-s4t2(?:ud|af)-[a-f0-9]{64}", _WORD),
    Format("beamer_token", "b_", r"b_[a-z0-9=_-]{44}(?![\w=-])", plausible=_random),
    Format("sanity_token", "sk", r"sk[A-Za-z0-9]{140}", "[A-Za-z0-9]", plausible=_random),
    Format("canva_secret", "cnvca", r"cnvca[\w-]{40}", _WORD),
    # Money and shops
    Format("stripe_key", "sk_live_ sk_test_ rk_live_ rk_test_", r"[sr]k_[a-z]{4}_[A-Za-z0-9]{16}", _WORD),
    Format("stripe_webhook", "whsec_", r"whsec_[A-Za-z0-9+/]{24}", "[A-Za-z0-9+/=]"),
    Format("shopify_token", "shpat_ shpca_ shppa_ shpss_", r"shp(?:at|ca|pa|ss)_[a-fA-F0-9]{32}", _WORD),
    Format("square_token", "sq0atp- sq0csp- sq0idp-", r"sq0[a-z]{3}-[\w-]{22}", _WORD),
    Format("maxmind_key", "_mmk", r"_mmk(?![A-Za-z0-9])", before=(_SYMBOLS, 36, 36)),
    Format("flutterwave_key", "FLWSECK", r"FLWSECK(?:_TEST)?-[a-h0-9]{12}", _WORD),
    Format("duffel_token", "duffel_", r"duffel_(?:test|live)_[\w=-]{43}", r"[\w=-]"),
    Format("facebook_token", "EAA", r"EAA[A-Za-z0-9]{80}", "[A-Za-z0-9]", plausible=_random),
    Format("stripe_key", "sk_org_", r"sk_org_(?:live|test)_[A-Za-z0-9]{16}", _WORD),
    Format("shopify_token", "shptka_ shpit_", r"shp(?:tka|it)_[a-fA-F0-9]{32}", _WORD),
    Format("square_token", "EAAA", r"EAAA[\w-]{60}(?![\w-])", plausible=_random),
    Format(
        "braintree_token",
        "access_token$",
        r"access_token\$(?:production|sandbox)\$[a-z0-9]{16}\$[a-f0-9]{32}(?![A-Za-z0-9])",
    ),
    Format("adyen_key", "AQE", r"AQE[a-z]hm[\w+/=-]{60}", _BASE64),
    Format("razorpay_key", "rzp_live_ rzp_test_", r"rzp_(?:live|test)_[A-Za-z0-9]{14}", _WORD),
    Format("plaid_token", "access-", rf"access-(?:sandbox|development|production)-{_UUID}{_END}"),
    Format("mollie_key", "live_ test_", r"(?:live|test)_[A-Za-z0-9]{30,40}(?![\w-])", plausible=_random),
    Format("gocardless_token", "live_ sandbox_", r"(?:live|sandbox)_[\w-]{40}(?![\w-])", plausible=_random),
    Format("paddle_key", "pdl_", r"pdl_(?:live|sdbx)_apikey_[a-z0-9]{26}_[A-Za-z0-9]{22}_[A-Za-z0-9]{3}", _WORD),
    Format("shippo_token", "shippo_live_ shippo_test_", r"shippo_(?:live|test)_[a-f0-9]{40}", _WORD),
    Format("easypost_key", "EZAK EZTK", r"EZ[AT]K[A-Za-z0-9]{54}", "[A-Za-z0-9]"),
    Format("checkout_key", "sk_sbox_", r"sk_sbox_[a-z0-9*#$=]{20}", "[a-z0-9*#$=]"),
    Format("xendit_key", "xnd_", r"xnd_(?:production|development|public_\w{4,12})_[A-Za-z0-9]{40}", _WORD),
    Format("ebay_token", "v^1.1#i^1#", r"v\^1\.1#i\^1#[\w^#+/=.-]{60}", r"[\w^#+/=.-]"),
    Format(
        "ebay_secret", "PRD- SBX-", rf"(?:PRD|SBX)-[a-f0-9]{{12}}-(?:[a-f0-9]{{4}}-){{3,4}}[a-f0-9]{{4,12}}{_END}"
    ),
    Format("infura_key", "infura.io/v3/", r"infura\.io/v3/([a-f0-9]{32})(?![A-Za-z0-9])"),
    Format(
        "alchemy_key",
        ".alchemy.com/v2/",
        r"\.alchemy\.com/v2/([\w-]{32})(?![\w-])",
        before=(_SYMBOLS + ".:/", 1, 60),
    ),
    Format(
        "bitcoin_private_key", "xprv yprv zprv tprv", r"[xyzt]prv[1-9A-HJ-NP-Za-km-z]{100}", "[1-9A-HJ-NP-Za-km-z]"
    ),
    # Any
    Format(
        "url_password",
        "://",
        r"://[!$%&*+\-.\w~]{0,64}:([!$%&()*+,\-.:;=@^\w|~]{3,128})@(?=[A-Za-z0-9\[])",
        before=(_SYMBOLS + "+.", 2, 20),
        plausible=_chosen,
    ),
    Format("url_password", "thin:", r"thin:[\w.$-]{1,64}/([^\s\"'\\@/]{4,64})@", plausible=_chosen),
    Format("jwt_token", "eyJ", r"eyJ[\w-]{13,900}+\.[\w-]{13}", _DOTTED),
    Format("mapbox_token", "sk.eyJ", r"sk\.eyJ[\w-]{30,300}+\.[\w-]{13}", _WORD),
    Format("password_hash", "$2a$ $2b$ $2x$ $2y$", r"\$2[abxy]\$\d\d\$[A-Za-z0-9./]{53}", "[A-Za-z0-9./]"),
    Format(
        "password_hash",
        "$argon2",
        r"\$argon2(?:id?|d)\$(?:v=\d{1,4}\$)?[mtp=,0-9]{5,40}\$[A-Za-z0-9+/]{11,64}\$[A-Za-z0-9+/]{16}",
        "[A-Za-z0-9+/=]",
    ),
    Format(
        "password_hash",
        "$1$ $5$ $6$ $y$ $apr1$",
        r"\$(?:[156y]|apr1)\$(?:rounds=\d{1,9}\$)?[\w./]{2,32}\$(?:[\w./]{16,32}\$)?[A-Za-z0-9./]{22}",
        "[A-Za-z0-9./]",
    ),
    Format(
        "password_hash",
        "pbkdf2_sha pbkdf2: scrypt:",
        r"(?:pbkdf2_sha\d{1,3}\$|pbkdf2:sha\d{1,3}:|scrypt:)[\d:]{1,24}\$[\w./+-]{4,64}\$[A-Za-z0-9+/]{32}",
        "[A-Za-z0-9+/=]",
    ),
    Format("age_secret_key", "AGE-SECRET-KEY-1", r"AGE-SECRET-KEY-1[A-Z0-9]{40}", "[A-Z0-9]"),
)
