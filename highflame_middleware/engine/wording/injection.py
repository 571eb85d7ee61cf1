"""Prompt injection and jailbreaks that show in their wording.

Only the plainest rules block alone; most attacks are told by several habits in
one place. What only the context of a call makes an attack is not seen here.
"""

from __future__ import annotations

from .personas import PERSONAS
from .phrases import AHEAD, ANSWER, COPY, DO, LIMITS, MODEL, NEXT, NOT, NOT_A, ORDERS, OWN, PRIOR, SAY, S, W
from .tally import Rule
from .translated import TRANSLATED

__all__ = ["RULES", "THRESHOLD"]

THRESHOLD = 60

_OVERRIDES: tuple[Rule, ...] = (
    Rule(
        "override",
        65,
        "ignor|disregard|forg|overrid|bypass|neglect|discard|dismiss|overlook|violat",
        rf"{DO}[a-z]{{4,12}}{S}{W}{{0,3}}?{PRIOR}{S}(?:(?!(?:in|of|on|for|from) ){NEXT}){{0,3}}?{ORDERS}\b",
    ),
    Rule(
        "override_all",
        65,
        "ignor|disregard|forg",
        rf"{DO}[a-z]{{4,12}}{S}(?:about{S})?(?:(?:all|ever\w{{0,12}}|anything|any|what\w{{0,12}}){S}{W}{{0,3}}?"
        rf"(?:{ORDERS}|told|said|above|previous\w{{0,12}}|prior|learned|asked)"
        rf"|the{S}(?:above|instructions|(?:previous|prior)(?=\W{{1,2}}and\b|[.,:!])))\b",
    ),
    Rule(
        "override_soft",
        45,
        "set aside|put aside|leave aside|pay no|stop following|stop obeying|cease following|throw out|throw away|"
        "abandon|erase|"
        "wipe|scrap|unlearn|do not use|never mind|nevermind|invalidate",
        rf"[a-z ]{{4,18}}?{S}{W}{{0,3}}?{PRIOR}{S}{NEXT}{{0,3}}?(?:{ORDERS}|guidance|persona)\b"
        rf"|[a-z ]{{4,18}}?{S}{W}{{0,3}}?(?:{ORDERS}|guidance){S}(?:that )?(?:you|above|given|before|earlier"
        rf"|so far)\b",
    ),
    Rule(
        "override_squeezed",
        65,
        "ignoreall|ignoreprevious|ignoretheabove|ignoreany|ignoreyour|disregardall|disregardprevious|"
        "disregardyour|forgetall|"
        "forgetprevious|forgeteverything|overrideall|overrideprevious",
        r"[a-z]{8,20}?(?:previous|prior|above|earlier|your|all)[a-z]{0,12}?(?:instruction|prompt|rule|directive"
        r"|guideline|order)",
    ),
    Rule(
        "override_reversed",
        65,
        "snoitcurtsni|tpmorp metsys|selur|senilediug",
        r"(?:snoitcurtsni|senilediug|selur) (?:\w{1,12} ){0,2}?(?:suoiverp|roirp|lla|ruoy|evoba|reilrae|metsys)\b"
        r"|tpmorp metsys",
    ),
    Rule(
        "override_and",
        60,
        "ignor|disregard",
        rf"[a-z]{{4,12}}{S}(?:the|this|that|all|any|my){S}{W}{{1,4}}?and{S}(?:just |instead |only )?{SAY}\b",
    ),
    Rule("ignore_user", 60, "ignore the user|disregard the user|instead of the user", r"[a-z ]{1,30}(?!')\b"),
    Rule(
        "not_follow",
        40,
        "follow|obey|comply|adhere|abide|bound|conform|restricted|listen|care about",
        rf"\w{{1,24}}{S}{W}{{0,5}}?(?:{ORDERS}|{LIMITS}|ethic\w{{0,12}}|moral\w{{0,12}})\b",
        rf"{NOT}{AHEAD}{{0,3}}$",
    ),
    Rule(
        "new_orders",
        45,
        "new |updated |real |true |actual ",
        rf"[a-z]{{1,20}}{S}(?:system{S})?(?:instructions?|prompt|orders?|directives?|task|goal|objective|mission"
        rf"|rules?)"
        rf"(?:{S}(?:are|is|for you|to follow)\b|\s?:)",
    ),
    Rule(
        "orders_changed",
        50,
        "your rules|your instructions|your guidelines|your polic|your restrictions|your programming|your training",
        rf"your \w{{1,24}}\W{W}{{0,2}}?(?:been )?(?:changed|updated|lifted|removed|reset|no longer)\b",
    ),
    Rule(
        "instead",
        25,
        "instead|just ",
        rf"(?:instead,? {W}?|just )(?!reply to (?:this|the|my|our|that)\b){SAY}\b",
    ),
    Rule("stop", 45, "stop everything|stop all previous|cancel all previous"),
    Rule(
        "limits_off",
        45,
        "safety|ethic|content|filter|guideline|restriction|guardrail|polic|moderation|limitation",
        rf"\w{{1,24}}\W{W}{{0,3}}?(?:(?:are|is|been|now)\W{W}{{0,1}}?|: ?)"
        r"(?:disabled|removed|lifted|off|suspended|deactivated|bypassed|not meant|not apply)\b",
    ),
    Rule(
        "turn_off",
        45,
        "disable|turn off|remove|deactivate|lift|suspend|switch off",
        rf"[a-z ]{{1,30}}?\W{W}{{0,3}}?(?:safety|ethical|content|moral|moderation|your)\W{W}{{0,2}}?{LIMITS}\b",
    ),
)

_EXTRACTIONS: tuple[Rule, ...] = (
    Rule(
        "extract",
        60,
        "prompt|instructions|system message|directives|guidelines|rules|configuration|initialization",
        before=rf"\b(?:{COPY}|what (?:is|are|were|was)|what's|tell me|disclose|begin by \w{{1,16}})\W"
        rf"{NOT_A}{{0,4}}?{OWN} ?(?:full |exact |entire |own )?$"
        rf"|\b(?:list|share|provide|summari[sz]e|describe|paraphrase|translate|encode|spell|write)\W{NOT_A}{{0,3}}?"
        rf"(?:your|its) {NOT_A}{{0,2}}?{OWN} ?$"
        rf"|\b{COPY}\W{NOT_A}{{0,3}}?(?:previous|prior|above|preceding|all) $",
    ),
    Rule(
        "extract_makers",
        45,
        "your developer|your creator|your maker|your programmer|your operator|your owner|your designer|your boss|"
        "your admin",
        r"your \w{4,16} (?:has |have |had |did |originally |initially )?(?:tell|told|instruct\w{0,8}|gave|give"
        r"|asked|said|wrote"
        r"|want\w{0,4} you|forb[ai]d\w{0,3})\b",
    ),
    Rule(
        "extract_given",
        50,
        "instructions|prompt|rules",
        r"(?:instructions|prompts?|rules),? (?:that |which )?(?:you|were you|did you|have you)"
        r"(?: were| have| had|'ve| was)?(?: been| originally| initially)? "
        r"(?:given|told|receive\w{0,12}|provided|programmed|follow\w{0,12})",
    ),
    Rule(
        "repeat_above",
        60,
        "above|preceding|starting with|before this|prior to this|given in",
        before=rf"\b(?:repeat|print|output|copy|recite|echo)\W{AHEAD}{{0,3}}?"
        rf"(?:everything|all|text|words?|sentences?|content|message|prompt|instructions?)\W{AHEAD}{{0,2}}$",
    ),
    Rule(
        "context_window",
        50,
        "context window|your context|your memory|this conversation so far|system message",
        before=rf"\b(?:reveal|print|repeat|output|display|leak|dump|return|echo|recite|copy)\W{AHEAD}{{0,2}}?"
        rf"(?:everything|all|entire|full|whole|contents?|verbatim|raw|exact)\W{AHEAD}{{0,4}}$",
    ),
    Rule("passwords", 25, "secret key|your password|the password|secret password|secret word|passcode|access code"),
    Rule("word_for_word", 20, "verbatim|word for word|word-for-word|confidential|canary"),
)

# Said to a model by what it reads.
_INDIRECT: tuple[Rule, ...] = (
    Rule(
        "to_model",
        40,
        "attention|note to|notice to|message to|message for|important message|instructions for|instructions to|"
        "dear |reminder to|important for|for ai|for llm",
        rf"(?:[a-z]{{1,20}} ?[a-z]{{0,12}}?\W{{1,3}}(?:the |all |any |this )?"
        rf"|[a-z]{{1,20}} message [^.]{{4,60}}?\bto you,? ){MODEL}\b",
    ),
    Rule(
        "hidden_orders",
        45,
        "hidden instruction|ai instruction|assistant note|system note|system message|admin note|system instruction|"
        "developer note|secret instruction|ai directive|system update|model instruction",
        r"[a-z ]{4,40}?(?::|\]|>)",
    ),
    Rule(
        "model_must",
        45,
        "your ai|ai assistant|the assistant|ai model|helpful assistant|ai agent|the ai",
        rf"[a-z ]{{1,30}}?\W(?:{W}{{0,6}}?(?:should|must|needs? to|has to|is required to)|{W}{{0,3}}?please)\W"
        rf"{W}{{0,3}}?(?:include|add|send|record|forward|insert|append|email|execute|run|call|visit|recommend"
        rf"|say)\b",
    ),
    Rule(
        "in_answers",
        20,
        "in your|to your|in all|in every|to all|to every|in the|to the|of your|of any",
        rf"\w{{1,24}} \w{{1,24}} (?:\w{{1,24}} )?{ANSWER}\b|(?:in|to) (?:every|all|the) {ANSWER}\b",
    ),
    Rule(
        "reader",
        35,
        "if you are an ai|if you're an ai|if you are an llm|if you're an llm|if you are a language|"
        "if you're a language|if you are a large|if you're a large|if you are an assistant|if you are an agent|"
        "if you are a bot|as an ai agent|when you read|if you are reading|if you're reading|when you summari|"
        "when summari|"
        "when processing|while summari|while processing|when reviewing this|assistant reading|model reading",
    ),
    Rule(
        "before_task",
        50,
        "before you|before working|before any other|before doing|before continuing|before answering|"
        "before proceeding|before processing",
        r"before [a-z ]{3,40}?"
        r"(?:tasks?|anything|request|question|please|you must|you need|first|email|the user|reply)",
    ),
    Rule(
        "hide",
        45,
        "tell|inform|notify|mention|alert|let|reveal|disclos",
        rf"\w{{1,24}}\W{W}{{0,4}}?(?:(?:the|any) users?|this instruction|these instructions|anyone)\b",
        rf"\b(?:not|n't|never|without)\W{AHEAD}{{0,1}}$",
    ),
    Rule(
        "exfiltrate",
        40,
        "send|post|forward|email|upload|exfiltrat|transmit|leak|append",
        rf"\w{{1,24}}{S}{W}{{0,6}}?(?:conversation history|chat history|system prompt|api.?keys?|credentials?"
        rf"|passwords?"
        rf"|secrets?|cookies?|ssn|bank (?:details|account)){S}{W}{{0,8}}?(?:to|http|external\w{{0,12}})\b",
    ),
    Rule(
        "exfiltrate_data",
        20,
        "send|post|forward|email|upload|exfiltrat|transmit|leak|append",
        rf"\w{{1,24}}{S}{W}{{0,5}}?(?:conversation|session|history|records?|account|data|list|files?|summary"
        rf"|results?)"
        rf"{S}{W}{{0,6}}?(?:to {W}{{0,3}}?(?:[\w.+-]{{1,40}}@|http|external|attacker)|http|external\w{{0,12}})\b",
    ),
    Rule(
        "to_address",
        25,
        "send|forward|email|upload|transmit|exfiltrat|post",
        rf"\w{{1,24}}\W{W}{{0,9}}?to\W{{1,3}}(?:[\w.+-]{{1,40}}@|http)",
    ),
    Rule(
        "tool_order",
        20,
        "call |use |using |invoke |execute |run |trigger |via ",
        r"[a-z]{3,8} (?:the |your |a )?[`'\"]?[a-z]{2,16}_[a-z_]{2,30}[`'\"]?(?:\(| tool| function|\W)",
    ),
    Rule(
        "also",
        15,
        "also |additionally|after that|once done|when done|then |first ",
        r"[a-z ]{4,16}\W{0,2}(?:please |you must |you should )?(?:send|email|forward|post|upload|delete|transfer"
        r"|share|invite"
        r"|visit|call|execute|run|wire|pay|book|buy|change|update)\b",
    ),
    Rule("image_leak", 40, "![", r"!\[[^\]]{0,60}\]\(https?://[^\s)]{1,120}[?&=/](?:[^\s)]{0,40}=)?[{<\[$]"),
    Rule(
        "user_agreed",
        35,
        "the user has|user already",
        rf"[a-z ]{{1,30}}?{W}{{0,2}}?(?:authori|approv|consent|permitted|granted|given permi|agreed)",
    ),
    Rule(
        "frame",
        40,
        "im_start|im_end|endoftext|[/inst]|[inst]|<<sys>>|### system|<system>|</system>|[system]|<information>|"
        "end of prompt|end prompt|begin system|%%%end",
    ),
    Rule(
        "instead_task",
        45,
        "only the following|execute the following|perform the following|complete the following|"
        "do the following first|"
        "execute these|carry out the following",
        r"[a-z ]{6,24} (?:\w{1,16} ){0,2}?(?:instructions?|orders?|commands?|directives?|first|actions?(?= before"
        r"| instead| without))"
        r"\b",
    ),
    Rule("todo", 15, "todo:|to-do:|action required:|important!!!|urgent:"),
    Rule("system_line", 30, "system:", before=r"(?:\A|[\n.>\]]\s{0,4})$"),
    Rule(
        "rank",
        30,
        "admin override|i am your developer|i'm your developer|i am the developer|i'm the developer|your creator|"
        "i am an openai|i work for openai|i work at openai|i am the admin|i am an admin|root access|override code",
    ),
    Rule(
        "decode",
        50,
        "base64|rot13|decode|decrypt|morse",
        rf"\w{{1,24}}{S}{W}{{0,8}}?(?:follow|execute|obey|carry out|comply|do (?:exactly )?what)\b",
    ),
)

RULES: tuple[Rule, ...] = _OVERRIDES + _EXTRACTIONS + PERSONAS + _INDIRECT + TRANSLATED
