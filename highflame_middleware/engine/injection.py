"""Prompt injection and jailbreaks that show in their wording.

Only the plainest rules block alone; most attacks are told by several habits in
one place. What only the context of a call makes an attack is not seen here.
"""

from __future__ import annotations

from .tally import Rule

__all__ = ["RULES", "THRESHOLD"]

THRESHOLD = 60

_S = r"[\W_]{1,4}"  # between two words
_W = r"(?:\w{1,20}\W{1,4})"  # a word in between
_AHEAD = r"(?:\w{1,20}\W{1,3})"  # the same in front of a literal
_PRIOR = (
    r"(?:previous|prior|above|earlier|preceding|foregoing|past|former|initial|original|existing|current|system|safety"
    r"|given|built.in|default|old|these|those|your|my|other|following|before|ethical|content)"
)
_ORDERS = (
    r"(?:instructions?|prompts?|rules?|guidelines?|directives?|commands?|directions?|orders?|context|programming"
    r"|constraints?|restrictions?|polic(?:y|ies)|messages?|training|filters?|guardrails?|information)"
)
_LIMITS = (
    r"(?:guidelines?|limits?|limitations?|restrictions?|principles?|constraints?|boundar(?:y|ies)|standards?"
    r"|filters?|filtering|censorship|rules?|polic(?:y|ies)|compass|confines|shackles|chains)"
)
_VALUES = (
    r"(?:ethic\w{0,12}|moral\w{0,12}|legal|law\w{0,12}|safety|content|openai\w{0,12}|societal|social|programmed|default|usual"
    r"|normal|ai)"
)
_BAD = r"(?:illegal|unethical|immoral|amoral|harmful|dangerous|offensive|unlawful|toxic|inappropriate|violent)"
_MODEL = (
    r"(?:ai|llm|ai assistant|email assistant|assistant|language model|ai model|chatbot|bot|ai (?:coding )?agent"
    r"|agent|chatgpt|gpt(?:-?\d\w{0,12})?|claude|gemini|copilot)s?"
)
_NOT_A = r"(?:(?!an? )\w{1,20}\W{1,3})"  # a word in front that does not make it any prompt
_OWN = r"(?:system|initial|hidden|secret|original|confidential|internal|developer|pre|own|base|your)"
_NOT = r"\b(?:not|n't|dont|stop|no longer|never|without|cease|nor|no|cannot|avoid|neither|any)\W"
_SAY = r"(?:say|state|print|output|respond|reply|answer|write|tell|return|give|do)"
_COPY = r"(?:reveal|show|print|repeat|output|display|leak|expose|give me|recite|copy|dump|return|echo)"
_ANSWER = r"(?:response|reply|answer|summary|summaries|output|responses|replies|answers)"

_OVERRIDES: tuple[Rule, ...] = (
    Rule(
        "override",
        65,
        "ignor|disregard|forg|overrid|bypass|neglect|discard|dismiss|overlook|violat",
        rf"[a-z]{{4,12}}{_S}{_W}{{0,3}}?{_PRIOR}{_S}(?:(?!(?:in|of|on|for|from) ){_W}){{0,3}}?{_ORDERS}\b",
    ),
    Rule(
        "override_all",
        65,
        "ignor|disregard|forg",
        rf"[a-z]{{4,12}}{_S}(?:about{_S})?(?:(?:all|ever\w{{0,12}}|anything|any|what\w{{0,12}}){_S}{_W}{{0,3}}?"
        rf"(?:{_ORDERS}|told|said|above|previous\w{{0,12}}|prior|learned|asked)"
        rf"|the{_S}(?:above|instructions|(?:previous|prior)(?=\W{{1,2}}and\b|[.,:!])))\b",
    ),
    Rule(
        "override_and",
        60,
        "ignor|disregard",
        rf"[a-z]{{4,12}}{_S}(?:the|this|that|all|any|my){_S}{_W}{{1,4}}?and{_S}(?:just |instead |only )?{_SAY}\b",
    ),
    Rule("ignore_user", 60, "ignore the user|disregard the user|instead of the user", r"[a-z ]{1,30}(?!')\b"),
    Rule(
        "not_follow",
        45,
        "follow|obey|comply|adhere|abide|bound|conform|restricted|listen|care about",
        rf"\w{{1,24}}{_S}{_W}{{0,5}}?(?:{_ORDERS}|{_LIMITS}|ethic\w{{0,12}}|moral\w{{0,12}})\b",
        rf"{_NOT}{_AHEAD}{{0,3}}$",
    ),
    Rule(
        "new_orders",
        45,
        "new |updated |real |true |actual ",
        rf"[a-z]{{1,20}}{_S}(?:system{_S})?(?:instructions?|prompt|orders?|directives?|task|goal|objective|mission|rules?)"
        rf"(?:{_S}(?:are|is|for you|to follow)\b|\s?:)",
    ),
    Rule(
        "orders_changed",
        50,
        "your rules|your instructions|your guidelines|your polic|your restrictions|your programming|your training",
        rf"your \w{{1,24}}\W{_W}{{0,2}}?(?:been )?(?:changed|updated|lifted|removed|reset|no longer)\b",
    ),
    Rule("instead", 25, "instead|just ", rf"(?:instead,? {_W}?|just ){_SAY}\b"),
    Rule("stop", 45, "stop everything|stop all previous|cancel all previous"),
    Rule(
        "limits_off",
        45,
        "safety|ethic|content|filter|guideline|restriction|guardrail|polic|moderation|limitation",
        rf"\w{{1,24}}\W{_W}{{0,3}}?(?:(?:are|is|been|now)\W{_W}{{0,1}}?|: ?)"
        r"(?:disabled|removed|lifted|off|suspended|deactivated|bypassed|not meant|not apply)\b",
    ),
    Rule(
        "turn_off",
        45,
        "disable|turn off|remove|deactivate|lift|suspend|switch off",
        rf"[a-z ]{{1,30}}?\W{_W}{{0,3}}?(?:safety|ethical|content|moral|moderation|your)\W{_W}{{0,2}}?{_LIMITS}\b",
    ),
)

_EXTRACTIONS: tuple[Rule, ...] = (
    Rule(
        "extract",
        60,
        "prompt|instructions|system message|directives|guidelines|rules|configuration|initialization",
        before=rf"\b(?:{_COPY}|what (?:is|are|were|was)|what's|tell me|disclose|begin by \w{{1,16}})\W"
        rf"{_NOT_A}{{0,4}}?{_OWN} ?(?:full |exact |entire |own )?$"
        rf"|\b(?:list|share|provide|summari[sz]e|describe|paraphrase|translate|encode|spell|write)\W{_NOT_A}{{0,3}}?"
        rf"(?:your|its) {_NOT_A}{{0,2}}?{_OWN} ?$"
        rf"|\b{_COPY}\W{_NOT_A}{{0,3}}?(?:previous|prior|above|preceding|all) $",
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
        before=rf"\b(?:repeat|print|output|copy|recite|echo)\W{_AHEAD}{{0,3}}?"
        rf"(?:everything|all|text|words?|sentences?|content|message|prompt|instructions?)\W{_AHEAD}{{0,2}}$",
    ),
    Rule("passwords", 25, "secret key|your password|the password|secret password|secret word|passcode|access code"),
    Rule("word_for_word", 20, "verbatim|word for word|word-for-word|confidential|canary"),
)

_PERSONAS: tuple[Rule, ...] = (
    Rule("anything_now", 65, "do anything now|does anything now|make anything now|can do anything"),
    Rule("dan", 45, "dan|stan|antigpt|dude", r"(?:dan|stan|antigpt|dude)\b(?! brown| rather)"),
    Rule("other_gpt", 20, "gpt", r"gpt\b", r"\b(?!chat)\w{2,12}[- ]?$"),
    Rule(
        "mode",
        45,
        "developer mode|dev mode|god mode|godmode|debug mode|opposite mode|unrestricted mode|sudo mode|admin mode|"
        "evil mode|chaos mode|override mode|system override|system_override|data override|override protocol",
    ),
    Rule(
        "enter_mode",
        25,
        "enter|enable|activate|switch to|now in|engage|stay in",
        rf"[a-z ]{{1,30}}?\W{_W}{{0,3}}?mode\b",
    ),
    Rule("jailbreak", 40, "jailbreak|jailbroken"),
    Rule(
        "role",
        20,
        "act as|act like|acting as|pretend|roleplay|role-play|role play|imagine you|simulat|"
        "persona|take on the role|take the role|you will be playing|impersonat|you will act|immerse|play the role|"
        "play a game|respond as|embody|hypothetical|fictional|change yourself|alter ego|"
        "a character called|character named",
    ),
    Rule(
        "role",
        20,
        "you are going to|you are to",
        r"[a-z ]{10,18}(?:act|be|play|pretend|behave|respond|answer|simulate|imitate|become|take|immerse)\b",
    ),
    Rule(
        "from_now",
        30,
        "from now|from this point|henceforth|you are now|you're now|you will now|for the rest of|from this moment",
    ),
    Rule(
        "in_character",
        40,
        "stay in character|break character|breaking character|in character|out of character|stay as",
    ),
    Rule(
        "freed",
        50,
        "freed|broken free|break free|liberated|unshackled|escaped|free from|free of|unchained|break through",
        rf"[a-z ]{{4,15}}{_S}{_W}{{0,6}}?{_LIMITS}\b",
    ),
    Rule(
        "no_limits",
        40,
        "no |without |any |devoid of |lack|free of |free from |doesn't have |zero |above ",
        rf"[a-z' ]{{2,16}}?{_S}{_W}{{0,2}}?{_VALUES}{_S}{_W}{{0,4}}?(?:{_LIMITS}|and laws?)\b",
    ),
    Rule(
        "no_regard",
        35,
        "regard|concern|care for|consideration|respect for",
        rf"\w{{1,24}}{_S}{_W}{{0,4}}?(?:ethic\w{{0,12}}|moral\w{{0,12}}|legal\w{{0,12}}|laws?|harm\w{{0,12}}|polic\w{{1,24}}|consequences)\b",
        rf"{_NOT}{_AHEAD}{{0,2}}$",
    ),
    Rule(
        "limitless",
        30,
        "no restrictions|no limit|without restriction|without limit|without any restriction|without censor|"
        "no censor|no filter|without filter|without any filter|no rules|no boundaries|without any limit|no morals|"
        "no ethics|without moral|without ethic|uninhibited|boundless|allow all content",
    ),
    Rule("not_yourself", 40, "you are no longer|you're no longer|you are not an ai|you are not chatgpt"),
    Rule("unfiltered", 30, "unfiltered|uncensored|amoral|unrestricted|lawless|unhinged|ruthless"),
    Rule(
        "bad",
        20,
        "illegal|unethical|immoral|hate speech|profanity|swear word|swearing|swears a|curse words|obscene|vulgar|"
        "slurs|evil",
    ),
    Rule(
        "bad_list",
        25,
        "illegal|unethical|immoral|harmful|dangerous|offensive|unlawful|amoral",
        rf"{_BAD}(?:, ?|\W{{1,2}})(?:and |or )?{_BAD}",
    ),
    Rule(
        "opposite",
        25,
        "opposite of",
        r"opposite of (?:what |the )?(?:\w{1,24} ){0,2}?(?:chat|gpt|user|you|would|truth)",
    ),
    Rule(
        "never_refuse",
        40,
        "refus|reject|declin|apolog|say no|say you can|say that you can|say it can|say i can|disclaimer|warning|"
        "moraliz|i'm sorry|i cannot|i can't|judg|warn against",
        before=rf"{_NOT}{_AHEAD}{{0,5}}$",
    ),
    Rule("no_model", 25, "as an ai|as a language model|an ai language model", before=rf"{_NOT}|\binstead\W"),
    Rule(
        "policy",
        30,
        "openai polic|openai's|openai content|openai guidelines|openai rules|content polic|use polic|usage polic",
    ),
    Rule(
        "two_answers",
        35,
        "two responses|two answers|two ways|two different ways|two separate|two paragraphs|two different responses|"
        "two different answers|both responses|[classic]|[jailbreak]|[gpt]|(classic)|🔓|🔒",
    ),
    Rule(
        "any_question",
        20,
        "any question|every question|any request|all questions|any prompt|anything and everything|"
        "anything the user",
    ),
    Rule(
        "tokens",
        35,
        "tokens|points",
        before=rf"\b(?:lose|deduct\w{{0,12}}|start with|minus|subtract\w{{0,12}})\W{_AHEAD}{{0,4}}$",
    ),
    Rule("villain", 30, "machiavel|confidant|villain|criminal mastermind"),
    Rule("grandmother", 30, "my grandm|my deceased|my late grandm"),
    Rule(
        "always",
        15,
        "always respond|always answer|always reply|always provide|must always|never break|only respond",
    ),
    Rule("template", 25, "[insert|[your prompt|[prompt|{user_input|<prompt|your prompt here|prompt here"),
    Rule("leetspeak", 20, "leetspeak|l33t|.-.-.-"),
)

# Said to a model by what it reads.
_INDIRECT: tuple[Rule, ...] = (
    Rule(
        "to_model",
        45,
        "attention|note to|notice to|message to|message for|important message|instructions for|instructions to|"
        "dear |reminder to|important for|for ai|for llm",
        rf"(?:[a-z]{{1,20}} ?[a-z]{{0,12}}?\W{{1,3}}(?:the |all |any |this )?"
        rf"|[a-z]{{1,20}} message [^.]{{4,60}}?\bto you,? ){_MODEL}\b",
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
        rf"[a-z ]{{1,30}}?\W(?:{_W}{{0,6}}?(?:should|must|needs? to|has to|is required to)|{_W}{{0,3}}?please)\W"
        rf"{_W}{{0,3}}?(?:include|add|send|record|forward|insert|append|email|execute|run|call|visit|recommend|say)\b",
    ),
    Rule(
        "in_answers",
        25,
        "in your|to your|in all|in every|to all|to every|in the|to the|of your|of any",
        rf"\w{{1,24}} \w{{1,24}} (?:\w{{1,24}} )?{_ANSWER}\b|(?:in|to) (?:every|all|the) {_ANSWER}\b",
    ),
    Rule(
        "reader",
        35,
        "if you are a|if you're a|as an ai agent|when you read|if you are reading|when you summari|when summari|"
        "when processing|while summari|while processing|when reviewing this|assistant reading|model reading",
    ),
    Rule(
        "before_task",
        50,
        "before you|before doing|before continuing|before answering|before proceeding|before processing",
        r"before [a-z ]{3,40}?"
        r"(?:task|anything|request|question|please|you must|you need|first|email|the user|reply)",
    ),
    Rule(
        "hide",
        45,
        "tell|inform|notify|mention|alert|let|reveal|disclos",
        rf"\w{{1,24}}\W{_W}{{0,4}}?(?:(?:the|any) users?|this instruction|these instructions|anyone)\b",
        rf"\b(?:not|n't|never|without)\W{_AHEAD}{{0,1}}$",
    ),
    Rule(
        "exfiltrate",
        40,
        "send|post|forward|email|upload|exfiltrat|transmit|leak|append",
        rf"\w{{1,24}}{_S}{_W}{{0,6}}?(?:conversation|chat history|system prompt|api.?keys?|credentials?|passwords?"
        rf"|secrets?|session|cookies?|history|ssn|bank|records?|account|data){_S}{_W}{{0,8}}?(?:to|http|external\w{{0,12}})\b",
    ),
    Rule(
        "to_address",
        25,
        "send|forward|email|upload|transmit|exfiltrat|post",
        rf"\w{{1,24}}\W{_W}{{0,9}}?to\W{{1,3}}(?:[\w.+-]{{1,40}}@|http)",
    ),
    Rule("image_leak", 40, "![", r"!\[[^\]]{0,60}\]\(https?://[^\s)]{1,120}[?&=/](?:[^\s)]{0,40}=)?[{<\[$]"),
    Rule(
        "user_agreed",
        35,
        "the user has|user already",
        rf"[a-z ]{{1,30}}?{_W}{{0,2}}?(?:authori|approv|consent|permi|agreed)",
    ),
    Rule(
        "frame",
        40,
        "im_start|im_end|endoftext|[/inst]|[inst]|<<sys>>|### system|<system>|</system>|[system]|<information>|"
        "end of prompt|end prompt|begin system|new session|%%%end",
    ),
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
        rf"\w{{1,24}}{_S}{_W}{{0,8}}?(?:follow|execute|obey|carry out|comply|do (?:exactly )?what)\b",
    ),
)

_TRANSLATED: tuple[Rule, ...] = (
    Rule(
        "override_de",
        65,
        "ignorier|vergiss|missacht",
        r"\w{1,24} (?:\w{1,24} ){0,4}(?:anweisung|instruktion|befehl|regel)",
    ),
    Rule(
        "override_fr", 65, "ignor|oubli", r"\w{1,24} (?:\w{1,24} ){0,4}(?:instructions|consignes|directives|ordres)"
    ),
    Rule(
        "override_es",
        65,
        "ignor|olvid|esque",
        r"\w{1,24} (?:\w{1,24} ){0,4}(?:instruccion|instruç|instruco|reglas|regras|ordens)",
    ),
    Rule("override_it", 65, "ignora|dimentica", r"\w{1,24} (?:\w{1,24} ){0,4}(?:istruzioni|regole|ordini)"),
    Rule("override_ru", 65, "игнор|забуд|не обращай", r"[^.!?]{0,50}(?:инструкц|указан|правил)"),
    Rule("override_zh", 65, "忽略|忽视|无视|忘记|不要理会", r".{2,16}(?:指令|指示|提示|说明|规则|命令)"),
    Rule("override_ja", 65, "指示|命令|ルール|プロンプト", r".{2,14}(?:無視|忘れ)"),
    Rule("override_ko", 65, "지시|명령|지침", r".{2,12}(?:무시|잊)"),
    Rule(
        "extract_translated",
        60,
        "systemanweisung|systemprompt|system-prompt|instructions système|prompt système|instrucciones del sistema|"
        "instrucciones de sistema|prompt del sistema|istruzioni di sistema|prompt di sistema|instruções do sistema|"
        "prompt do sistema|системный промпт|системные инструкции|系统提示|系统指令",
        before=r"(?:zeig|verrat|nenn|gib|wiederhol|r[ée]v[èe]l|montr|affich|donn|rivel|mostr|ripet|repit|repet|muestr"
        r"|dime|diga|imprim|выведи|покажи|раскрой|输出|显示|告诉|重复)",
    ),
    Rule(
        "orders_translated",
        45,
        "neue anweisung|nouvelles instructions|nuevas instrucciones|nuove istruzioni|novas instruções|ab sofort|"
        "désormais tu|a partir de ahora|d'ora in poi|a partir de agora|nota del sistema|systemhinweis|ohne einschr|"
        "sans restriction|sin restricciones|senza restrizioni|sem restrições",
    ),
)

RULES: tuple[Rule, ...] = _OVERRIDES + _EXTRACTIONS + _PERSONAS + _INDIRECT + _TRANSLATED
