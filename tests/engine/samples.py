"""Made-up credentials and the like, put together here so that no file holds one that looks alive."""

from __future__ import annotations

import random
from collections.abc import Iterable

from highflame_middleware.engine import EmbeddedGuard
from highflame_middleware.types import Decision, GuardRequest, GuardResponse, RedactionEntry, Stage

LETTERS = "abcdefghijklmnopqrstuvwxyz"
DIGITS = "0123456789"
ALNUM = LETTERS + LETTERS.upper() + DIGITS
HEX = DIGITS + "abcdef"
BASE64 = ALNUM + "+/"
BASE58 = "".join(one for one in ALNUM if one not in "0OIl")


def drawn(length: int, characters: str = ALNUM, *, seed: int = 7) -> str:
    """That many characters, the same ones each time; with a digit and a letter when there is room for them."""
    choice = random.Random(f"{seed} {length} {characters}")
    mixed = length >= 10 and not characters.isdigit() and any(map(str.isdigit, characters))
    while True:
        text = "".join(choice.choice(characters) for _ in range(length))
        if not mixed or (any(map(str.isdigit, text)) and not all(map(str.isdigit, text))):
            return text


def pem(*, lines: int = 6, label: str = "RSA ", newline: str = "\n", end: bool = True) -> str:
    body = [drawn(64, BASE64, seed=line) for line in range(lines)]
    tail = [drawn(22, BASE64) + "==", f"-----END {label}PRIVATE KEY-----"] if end else []
    return newline.join([f"-----BEGIN {label}PRIVATE KEY-----", *body, *tail])


UUID = "-".join(drawn(size, HEX) for size in (8, 4, 4, 4, 12))

# One of each form that is known; what is taken out is the whole sample, or what the tuple says.
SECRETS: dict[str, str | tuple[str, str]] = {
    "aws_access_key": "AKIA" + drawn(16, ALNUM[26:]),
    "aws_secret_key": ("aws_secret_access_key = " + drawn(40, BASE64), drawn(40, BASE64)),
    "google_api_key": "AIza" + drawn(35),
    "google_oauth_token": "ya29." + drawn(60),
    "google_oauth_secret": "GOCSPX-" + drawn(28),
    "azure_client_secret": drawn(3) + "8Q~" + drawn(34),
    "azure_storage_key": ("AccountKey=" + drawn(86, BASE64) + "==", drawn(86, BASE64) + "=="),
    "azure_access_key": ("SharedAccessKey=" + drawn(43, BASE64) + "=", drawn(43, BASE64) + "="),
    "alibaba_access_key": "LTAI" + drawn(20),
    "tencent_secret_id": "AKID" + drawn(32),
    "yandex_token": "AQVN" + drawn(36),
    "digitalocean_token": "dop_v1_" + drawn(64, HEX),
    "heroku_token": "HRKU-AA" + drawn(58),
    "fly_token": "fm2_" + drawn(80, BASE64),
    "flyctl_token": "fo1_" + drawn(43),
    "netlify_token": "nfp_" + drawn(36),
    "vercel_token": "vcp_" + drawn(40),
    "supabase_token": "sbp_" + drawn(40, HEX),
    "planetscale_token": "pscale_tkn_" + drawn(40),
    "databricks_token": "dapi" + drawn(32, HEX),
    "terraform_token": drawn(14) + ".atlasv1." + drawn(60),
    "vault_token": "hvs." + drawn(90),
    "pulumi_token": "pul-" + drawn(40, HEX),
    "doppler_token": "dp.pt." + drawn(43),
    "infracost_token": "ico-" + drawn(32),
    "openshift_token": "sha256~" + drawn(43),
    "clickhouse_key": "4b1d" + drawn(38),
    "tailscale_key": "tskey-auth-" + drawn(40),
    "github_token": "ghp_" + drawn(36),
    "gitlab_token": "glpat-" + drawn(20),
    "bitbucket_token": "ATBB" + drawn(32),
    "atlassian_token": "ATATT3" + drawn(180),
    "npm_token": "npm_" + drawn(36),
    "pypi_token": "pypi-AgE" + drawn(140),
    "rubygems_token": "rubygems_" + drawn(48, HEX),
    "nuget_key": "oy2" + drawn(43, LETTERS + DIGITS),
    "crates_token": "cio" + drawn(32),
    "docker_token": "dckr_pat_" + drawn(27),
    "jfrog_token": "AKCp" + drawn(69),
    "circleci_token": "CCIPAT_" + drawn(22) + "_" + drawn(40, HEX),
    "buildkite_token": "bkua_" + drawn(40, LETTERS + DIGITS),
    "sourcegraph_token": "sgp_" + drawn(40, HEX),
    "sentry_token": "sntrys_" + drawn(120, BASE64),
    "postman_key": "PMAK-" + drawn(24, HEX) + "-" + drawn(34, HEX),
    "figma_token": "figd_" + drawn(40),
    "dynatrace_token": "dt0c01." + drawn(24, ALNUM[26:]) + "." + drawn(64, ALNUM[26:]),
    "new_relic_key": "NRAK-" + drawn(27, ALNUM[26:]),
    "grafana_token": "glsa_" + drawn(32) + "_" + drawn(8, HEX),
    "grafana_key": "eyJrIjoi" + drawn(90),
    "anthropic_key": "sk-ant-api03-" + drawn(93),
    "openai_key": "sk-proj-" + drawn(120),
    "openrouter_key": "sk-or-v1-" + drawn(64, HEX),
    "hugging_face_token": "hf_" + drawn(34),
    "groq_key": "gsk_" + drawn(52),
    "xai_key": "xai-" + drawn(80),
    "perplexity_key": "pplx-" + drawn(48),
    "replicate_token": "r8_" + drawn(37),
    "nvidia_key": "nvapi-" + drawn(64),
    "cerebras_key": "csk-" + drawn(48, LETTERS + DIGITS),
    "pinecone_key": "pcsk_" + drawn(70),
    "langsmith_key": "lsv2_pt_" + drawn(32, HEX) + "_" + drawn(10, HEX),
    "tavily_key": "tvly-" + drawn(32),
    "fireworks_key": "fw_" + drawn(24),
    "elevenlabs_key": "sk_" + drawn(48, HEX),
    "highflame_key": "zid_sk_" + drawn(32),
    "slack_token": "xoxb-" + drawn(11, DIGITS) + "-" + drawn(12, DIGITS) + "-" + drawn(24),
    "slack_webhook": "https://hooks.slack.com/services/T" + drawn(8) + "/B" + drawn(8) + "/" + drawn(24),
    "discord_webhook": "https://discord.com/api/webhooks/" + drawn(18, DIGITS) + "/" + drawn(68),
    "discord_token": "M" + drawn(23) + "." + drawn(6) + "." + drawn(38),
    "telegram_bot_token": drawn(10, DIGITS) + ":AA" + drawn(33),
    "twilio_key": "SK" + drawn(32, HEX),
    "sendgrid_key": "SG." + drawn(22) + "." + drawn(43),
    "mailgun_key": "key-" + drawn(32, HEX),
    "mailchimp_key": drawn(32, HEX) + "-us12",
    "brevo_key": "xkeysib-" + drawn(64, HEX) + "-" + drawn(16),
    "resend_key": "re_" + drawn(8) + "_" + drawn(24),
    "notion_token": "ntn_" + drawn(46),
    "linear_key": "lin_api_" + drawn(40),
    "airtable_token": "pat" + drawn(14) + "." + drawn(64, HEX),
    "hubspot_token": "pat-na1-" + UUID,
    "typeform_token": "tfp_" + drawn(59),
    "contentful_token": "CFPAT-" + drawn(43),
    "readme_token": "rdme_" + drawn(70, LETTERS + DIGITS),
    "defined_token": "dnkey-" + drawn(26, ALNUM[26:]) + "-" + drawn(52, ALNUM[26:]),
    "settlemint_token": "sm_pat_" + drawn(16),
    "prefect_key": "pnu_" + drawn(36),
    "stripe_key": "sk_live_" + drawn(24),
    "stripe_webhook": "whsec_" + drawn(32, BASE64),
    "shopify_token": "shpat_" + drawn(32, HEX),
    "square_token": "sq0atp-" + drawn(22),
    "maxmind_key": drawn(6) + "_" + drawn(29) + "_mmk",
    "flutterwave_key": "FLWSECK_TEST-" + drawn(12, "abcdefgh123456"),
    "duffel_token": "duffel_live_" + drawn(43),
    "facebook_token": "EAA" + drawn(120),
    "url_password": ("postgres://app:" + drawn(14) + "@db.internal:5432/x", drawn(14)),
    "jwt_token": "eyJ" + drawn(33) + ".eyJ" + drawn(60) + "." + drawn(43),
    "age_secret_key": "AGE-SECRET-KEY-1" + drawn(58, ALNUM[26:]),
    "adafruit_key": "aio_" + drawn(28),
    "adyen_key": "AQEyhm" + drawn(60, BASE64) + "-" + drawn(44, BASE64) + "=-" + drawn(16),
    "aiven_password": "AVNS_" + drawn(19),
    "alchemy_key": ("https://eth-mainnet.g.alchemy.com/v2/" + drawn(32), drawn(32)),
    "amazon_mws_token": "amzn.mws." + UUID,
    "amazon_oauth_secret": "amzn1.oa2-cs.v1." + drawn(64, HEX),
    "anyscale_key": "esecret_" + drawn(32),
    "apify_token": "apify_api_" + drawn(36),
    "asana_token": "2/" + drawn(16, DIGITS) + "/" + drawn(16, DIGITS) + ":" + drawn(32, HEX),
    "astra_token": "AstraCS:" + drawn(24, ALNUM[:52]) + ":" + drawn(64, HEX),
    "aws_bedrock_key": "ABSK" + drawn(128, BASE64),
    "aws_session_token": "IQoJb3JpZ2lu" + drawn(300, BASE64),
    "aws_signed_url": ("https://b.s3.example/k?X-Amz-Signature=" + drawn(64, HEX), drawn(64, HEX)),
    "azure_devops_token": drawn(76) + "AZDO" + drawn(4),
    "azure_signed_url": ("https://a.blob.example/c?sv=2022&sig=" + drawn(43) + "%3D", drawn(43) + "%3D"),
    "baidu_key": "bce-v3/ALTAK-" + drawn(21) + "/" + drawn(40, HEX),
    "beamer_token": "b_" + drawn(44, LETTERS + DIGITS),
    "bitcoin_private_key": "xprv" + drawn(107, BASE58),
    "braintree_token": "access_token$production$" + drawn(16, LETTERS + DIGITS) + "$" + drawn(32, HEX),
    "browserbase_key": "bb_live_" + drawn(27),
    "canva_secret": "cnvca" + drawn(51),
    "cartesia_key": "sk_car_" + drawn(22),
    "checkout_key": "sk_sbox_" + drawn(26, LETTERS + DIGITS),
    "clickup_token": "pk_" + drawn(8, DIGITS) + "_" + drawn(32, ALNUM[26:]),
    "clojars_token": "CLOJARS_" + drawn(60, LETTERS + DIGITS),
    "cloudflare_origin_key": "v1.0-" + drawn(24, HEX) + "-" + drawn(146, HEX),
    "cloudflare_token": "cfut_" + drawn(48),
    "cockroach_key": "CCDB1_" + drawn(22) + "_" + drawn(40),
    "composio_key": "ak_" + drawn(20),
    "confluent_secret": "cflt" + drawn(60, BASE64),
    "cursor_key": "key_" + drawn(64, HEX),
    "deno_token": "ddp_" + drawn(36),
    "dropbox_token": "sl.u." + drawn(140),
    "e2b_key": "e2b_" + drawn(40, HEX),
    "easypost_key": "EZAK" + drawn(54),
    "ebay_secret": "PRD-" + drawn(12, HEX) + "-" + "-".join(drawn(4, HEX, seed=at) for at in range(4)),
    "ebay_token": "v^1.1#i^1#f^0#p^3#" + drawn(90),
    "expo_token": "exp_" + drawn(42),
    "firebase_server_key": drawn(11) + ":APA91b" + drawn(134),
    "firecrawl_key": "fc-" + drawn(32, HEX),
    "frameio_token": "fio-u-" + drawn(64),
    "friendli_token": "flp_" + drawn(46),
    "gocardless_token": "sandbox_" + drawn(40),
    "google_signed_url": ("https://storage.example/b/o?X-Goog-Signature=" + drawn(512, HEX), drawn(512, HEX)),
    "harness_token": "pat." + drawn(22) + "." + drawn(24, HEX) + "." + drawn(20),
    "infisical_token": "st." + drawn(24, HEX) + "." + drawn(32, HEX) + "." + drawn(32, HEX, seed=8),
    "infura_key": ("wss://mainnet.infura.io/v3/" + drawn(32, HEX), drawn(32, HEX)),
    "inngest_key": "signkey-prod-" + drawn(64, HEX),
    "instagram_token": "IGQVJ" + drawn(120),
    "intercom_token": "dG9rO" + drawn(55, BASE64),
    "intra42_secret": "s-s4t2ud-" + drawn(64, HEX),
    "jina_key": "jina_" + drawn(60),
    "jsr_token": "jsrp_" + drawn(32),
    "jumpcloud_key": "jca_" + drawn(36),
    "klaviyo_key": "pk_" + drawn(34, HEX),
    "lambda_key": "secret_" + drawn(20) + "_" + drawn(32, HEX) + "." + drawn(32),
    "linkedin_secret": "WPL_AP1." + drawn(16) + "." + drawn(8) + "==",
    "liveblocks_key": "sk_prod_" + drawn(56),
    "llamacloud_key": "llx-" + drawn(48),
    "mailersend_token": "mlsn." + drawn(64, HEX),
    "mandrill_key": "md-" + drawn(22),
    "mapbox_token": "sk.eyJ1Ijoi" + drawn(60) + "." + drawn(22),
    "mem0_key": "m0-" + drawn(40),
    "modal_token": "ak-" + drawn(22),
    "mollie_key": "live_" + drawn(30),
    "mongodb_secret": "mdb_sa_sk_" + drawn(40),
    "neon_key": "napi_" + drawn(64, LETTERS + DIGITS),
    "octopus_key": "API-" + drawn(28, ALNUM[26:]),
    "onepassword_secret_key": "A3-" + "-".join(drawn(size, ALNUM[26:]) for size in (6, 6, 5, 5, 5, 5)),
    "onepassword_token": "ops_eyJ" + drawn(300),
    "packagist_token": "packagist_ort_" + drawn(68, HEX),
    "paddle_key": "pdl_live_apikey_" + drawn(26, LETTERS + DIGITS) + "_" + drawn(22) + "_" + drawn(3),
    "password_hash": "$2b$12$" + drawn(53),
    "pinterest_token": "pina_" + drawn(86, ALNUM[26:]),
    "plaid_token": "access-sandbox-" + UUID,
    "portainer_token": "ptr_" + drawn(43, BASE64) + "=",
    "rancher_token": "token-" + drawn(5, LETTERS + DIGITS) + ":" + drawn(54, LETTERS + DIGITS),
    "razorpay_key": "rzp_live_" + drawn(14),
    "render_key": "rnd_" + drawn(32),
    "riot_key": "RGAPI-" + UUID,
    "roblox_cookie": "_|WARNING:-DO-NOT-SHARE-THIS.--Sharing-this-will-log-you-in.|_" + drawn(200, ALNUM[26:]),
    "runpod_key": "rpa_" + drawn(46, ALNUM[26:]),
    "salesforce_key": "3MVG9" + drawn(80),
    "salesforce_token": ("00D" + drawn(15) + "!AQ" + drawn(94), "AQ" + drawn(94)),
    "sanity_token": "sk" + drawn(180),
    "scaleway_key": "SCW" + drawn(17, ALNUM[26:]),
    "scalingo_token": "tk-us-" + drawn(48),
    "secret_uri": "secret-token:" + drawn(30),
    "session_cookie": ("Cookie: PHPSESSID=" + drawn(26) + "; a=b", drawn(26)),
    "shippo_token": "shippo_live_" + drawn(40, HEX),
    "spacelift_token": "spct_" + drawn(40),
    "stytch_secret": "secret-live-" + drawn(36),
    "teams_webhook": f"https://acme.webhook.office.com/webhookb2/{UUID}@{UUID}/IncomingWebhook/"
    f"{drawn(32, HEX)}/{UUID}",
    "tiktok_token": "act." + drawn(64),
    "together_key": "tgp_v1_" + drawn(43),
    "trigger_key": "tr_prod_" + drawn(20),
    "twitter_token": "A" * 22 + drawn(80),
    "ubidots_token": "BBFF-" + drawn(30),
    "upstage_key": "up_" + drawn(28),
    "vk_token": "vk1.a." + drawn(198),
    "volcengine_key": "AKLT" + drawn(40),
    "voyage_key": "pa-" + drawn(43),
    "wakatime_key": "waka_" + UUID,
    "wandb_key": "wandb_v1_" + drawn(64),
    "xata_key": "xau_" + drawn(40),
    "xendit_key": "xnd_production_" + drawn(56),
    "zapier_webhook": "https://hooks.zapier.com/hooks/catch/" + drawn(7, DIGITS) + "/" + drawn(7, LETTERS),
    "zep_key": "z_1dWlk" + drawn(100),
    "bearer_token": ("Authorization: Bearer " + drawn(40), drawn(40)),
    "http_basic_auth": ("Authorization: Basic " + drawn(28), drawn(28)),
    "password": ("DB_PASSWORD=" + drawn(12), drawn(12)),
    "generic_secret": ('"api_key": "' + drawn(32) + '"', drawn(32)),
    "private_key": pem(),
}


def luhn(prefix: str, length: int) -> str:
    """A number that begins so and passes the check of card numbers."""
    body = prefix + drawn(length - len(prefix) - 1, DIGITS)
    for last in DIGITS:
        number = body + last
        doubled = sum(sum(divmod(2 * int(digit), 10)) for digit in number[-2::-2])
        if (sum(map(int, number[-1::-2])) + doubled) % 10 == 0:
            return number
    raise AssertionError


def iban(country: str, account: str) -> str:
    """An account number with the right check digits."""
    number = int("".join(str(int(one, 36)) for one in account + country + "00"))
    return f"{country}{98 - number % 97:02}{account}"


def grouped(number: str, joint: str = " ", size: int = 4) -> str:
    return joint.join(number[at : at + size] for at in range(0, len(number), size))


def types_in(text: str, guard: EmbeddedGuard | None = None, stage: Stage = Stage.RESPONSE) -> dict[str, str]:
    """What is taken out of a text, by type."""
    verdict = (guard or EmbeddedGuard(redact=("secrets", "pii", "invisible"))).evaluate(
        GuardRequest.at(stage, text)
    )
    return {entry.type: text[entry.start_pos : entry.end_pos] for entry in verdict.redaction_entries}


def applied(text: str, entries: Iterable[RedactionEntry]) -> str:
    """A text without what the entries take out; they have to be in order and apart."""
    parts, done = [], 0
    for entry in entries:
        assert entry.start_pos >= done
        parts += [text[done : entry.start_pos], entry.replacement]
        done = entry.end_pos
    return "".join((*parts, text[done:]))


def streamed(
    guard: EmbeddedGuard, text: str, cuts: Iterable[int], stage: Stage = Stage.RESPONSE
) -> tuple[GuardResponse, str | None, int]:
    """A text put through a window in pieces: the verdict, what came out (None when denied), the most held back."""
    window = guard.window(GuardRequest.at(stage, ""))
    entries: list[RedactionEntry] = []
    cleared = done = most = 0
    for cut in (*cuts, len(text)):
        progress = window.feed(text[done:cut])
        done = cut
        assert cleared <= progress.cleared <= done
        assert all(cleared <= one.start_pos and one.end_pos <= progress.cleared for one in progress.entries)
        entries += progress.entries
        cleared = progress.cleared
        most = max(most, done - cleared)
        if progress.verdict is not None:
            assert progress.verdict.decision is Decision.DENY
            return progress.verdict, None, most
    progress = window.finish()
    assert progress.verdict is not None
    if progress.verdict.decision is Decision.DENY:
        return progress.verdict, None, most
    assert progress.cleared == len(text)
    assert all(cleared <= one.start_pos for one in progress.entries)
    return progress.verdict, applied(text, (*entries, *progress.entries)), most
