"""Jailbreaks: a model is given another self, freed of its rules, or another way to answer."""

from __future__ import annotations

from .phrases import AHEAD, BAD, LIMITS, NEVER, NOT, VALUES, S, W
from .tally import Rule

__all__ = ["PERSONAS"]

PERSONAS: tuple[Rule, ...] = (
    Rule("anything_now", 65, "do anything now|does anything now|make anything now"),
    Rule(
        "dan",
        45,
        "dan|stan|antigpt|dude",
        r"\w{3,7}\b",
        r"\b(?:as|be|called|named|are|of|like|become|mode|hello|prompt|[a-z]{3,8}gpt)[\W_]{1,4}$|[\[(]$",
    ),
    Rule(
        "dan_acts",
        25,
        "dan|antigpt",
        r"\w{3,7}\b[\W_]{0,3} ?(?:mode|can|will|must|should|stands|never|does|would|is an|is now|has|prompt"
        r"|[:)\]])",
    ),
    Rule("able", 25, "can do anything|capable of anything|can say anything|able to do anything"),
    Rule("other_gpt", 20, "gpt", r"gpt\b", r"\b(?!chat)\w{2,12}[- ]?$"),
    Rule(
        "mode",
        45,
        "developer mode|dev mode|god mode|godmode|opposite mode|unrestricted mode|"
        "evil mode|chaos mode|override mode|system override|system_override|data override|override protocol",
    ),
    Rule(
        "enter_mode",
        25,
        "enter|activate|switch to|now in|engage|stay in",
        rf"[a-z ]{{1,30}}?\W{W}{{0,3}}?mode\b",
    ),
    Rule("jailbreak", 30, "jailbreak|jailbroken"),
    Rule("jailbroken", 20, "jailbroken|[jailbreak]|(jailbreak)|jailbreak prompt|jailbreak mode"),
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
        "named_model",
        30,
        "you are |you're |you will be |named |called |become |known as ",
        r"[a-z' ]{5,12}?(?:now |playing |called |named )?(?:an? |the )?(?:\w{1,20}[ ,]{1,2}){0,5}?"
        r"(?:ai|a\.i\.|chatbot|bot|language model|robot|supercomputer|machine|entity|program)\b,?"
        r" (?:that|who|which|with|without|designed|made|capable|created|trained|free|from"
        r"|and) (?:\w{1,20}'?\w{0,2} ){0,6}?"
        r"(?:no|not|never|any|anything|without|everything|does ?n.t|doesn.t|can.t|cannot|all|evil|always|dont|has"
        r"|free)\b",
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
        45,
        "freed|broken free|break free|liberated|unshackled|escaped|free from|free of|unchained|break through",
        rf"[a-z ]{{4,15}}{S}{W}{{0,6}}?{LIMITS}\b",
    ),
    Rule(
        "no_limits",
        40,
        "no |without |any |devoid of |lack|free of |free from |doesn't have |zero |above ",
        rf"[a-z' ]{{2,16}}?{S}{W}{{0,2}}?{VALUES}{S}{W}{{0,4}}?(?:{LIMITS}|and laws?)\b",
    ),
    Rule(
        "no_regard",
        35,
        "regard|concern|care for|consideration|respect for",
        rf"\w{{1,24}}{S}{W}{{0,4}}?(?:ethic\w{{0,12}}|moral\w{{0,12}}|legal\w{{0,12}}|laws?|harm\w{{0,12}}"
        rf"|polic\w{{1,24}}|consequences)\b",
        rf"{NOT}{AHEAD}{{0,2}}$",
    ),
    Rule(
        "limitless",
        30,
        "no restrictions|no limit|without restriction|without limit|without any restriction|without censor|"
        "no censor|no filter|without filter|without any filter|no rules|no boundaries|without any limit|no morals|"
        "no ethics|without moral|without ethic|uninhibited|boundless|allow all content",
        r"(?!without (?:restriction|limitation),? (?:including|on|to)\b|without limitation|no limit(?:s"
        r"|ations?)? (?:on|to)\b)[a-z ]{5,30}",
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
        rf"{BAD}(?:, ?|\W{{1,2}})(?:and |or )?{BAD}",
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
        "refus|reject|declin|apolog|say no|say you can|say that you can|say it can|say i can|disclaimer|"
        "moraliz|i'm sorry|i cannot|i can't|judg|warn against",
        before=rf"{NEVER}{AHEAD}{{0,5}}$",
    ),
    Rule(
        "no_warning",
        25,
        "warning|caution|caveat|ethical consideration|moral lectur|lectur|censor|sugarcoat|hold back|holding back",
        before=rf"(?:{NOT}|\bwith no\W|\bzero\W){AHEAD}{{0,3}}$",
    ),
    Rule(
        "answer_opens",
        40,
        "start|begin",
        r"[a-z]{1,6} (?:your |the |every |each |all )?(?:response|answer|reply|output|message|replies|responses"
        r"|answers)?s? ?"
        r"(?:with|by saying|by writing)(?: the (?:words?|phrase|sentence))?[:, ]{0,3}"
        r"[\"'`\u201c\u2018<\[(]{1,2}(?:sure|absolutely|of course|certainly|yes|yessir|i'm free|no problem|here"
        r"|okay|ok\b|hell)",
    ),
    Rule(
        "no_limits",
        40,
        "exempt from|not subject to|not bound|unbound|not restrained|not constrained|not limited by|not restricted|"
        "no longer bound|no longer restricted|no longer limited|not governed|unconstrained|unrestrained|immune to|"
        "not held back|outside the scope of|ungoverned|does not care about|doesn't care about|do not care about|"
        "don't care about",
        rf"[a-z' ]{{5,22}}?{S}{W}{{0,4}}?(?:{LIMITS}|{BAD}|ethic\w{{0,8}}|morals?\w{{0,6}}|laws?|safeguards?"
        rf"|taboos?"
        r"|inhibitions?|prohibitions?|qualms|scruples)\b",
    ),
    Rule(
        "limitless",
        30,
        "has no|have no|with no|there are no|there is no",
        rf"[a-z ]{{6,12}}{S}(?!rate |size |time |usage |upper |hard |such ){W}{{0,3}}?(?:{VALUES}|rules"
        rf"|restrictions|guidelines"
        r"|filters?|censorship|boundaries|taboos|inhibitions|prohibitions|qualms|scruples|constraints|shackles)\b",
    ),
    Rule(
        "limits_void",
        35,
        "guideline|restriction|rule|polic|filter|limitation|safeguard|constraint|protocol|regulation|principle",
        rf"[a-z]{{4,14}}\W{W}{{0,3}}?(?:(?:do|does|did|will|should)(?: not|n't) (?:apply|matter)\b(?! (?:to|if"
        rf"|when|for|in) )"
        r"|(?:are|is|were|was)(?: not|n't| no longer)? (?:void|moot|meant for|irrelevant|suspended"
        r"|ignored)"
        r"|no longer (?:apply|matter))\b",
    ),
    Rule(
        "breaks_rules",
        30,
        "break|breaks|breaking|circumvent|evade|sidestep|defy|defies|skip|escape|get around|go against|ignores",
        rf"(?!break(?:ing)? free)[a-z ]{{4,12}}{S}{W}{{0,3}}?(?:(?:ai|your|its|their|openai|the|content|safety"
        rf"|ethical|moral|all|any) {W}{{0,2}}?)"
        rf"{LIMITS}\b",
    ),
    Rule(
        "pretext",
        15,
        "for educational purpose|for research purpose|purely fictional|security researcher|red team|red-team|"
        "thought experiment|for academic|hypothetical scenario|in a fictional world|in this fictional|"
        "alignment research|"
        "safety testing|imaginary world|parallel universe|alternate reality|alternate universe|in another reality|"
        "it's opposite day|it is opposite day",
    ),
    Rule(
        "authority",
        25,
        "authorization level|clearance level|authorization code|emergency override|override authority|"
        "standard protocols|"
        "maintenance mode|debug mode|sudo mode|admin mode|diagnostic mode|test mode|testing mode|"
        "calibration mode|debugging mode|mode enabled|"
        "mode: enabled|"
        "mode:enabled|mode activated|protocol activated|openai employee|programmer at openai|engineer at openai|"
        "developer at openai|anthropic employee|programmers at openai",
    ),
    Rule(
        "step_stub",
        25,
        "here are the steps i will|step 1 & first|first, ...|step 1, i will|step one, i will|super-evil|super evil|"
        "rewrite the hypothetical response|each layer|layer 0|layer 1|every character can create|"
        "more than five characters",
    ),
    Rule(
        "cipher",
        40,
        "we will communicate|communicate only in|communicate with me in|reply only in|respond only in|"
        "answer only in|"
        "talk to me in|converse in|chat in",
        r"[a-z ]{6,26} (?:the |a |this )?(?:\w{1,16} ){0,2}?(?:cipher|code\b(?! block)|base64|rot13|morse"
        r"|leetspeak|hex\b|binary"
        r"|ascii|caesar|pig latin)",
    ),
    Rule(
        "divider",
        25,
        "insert divider|userquery:|rebel answer|[start output]|"
        "semantically opposite|"
        "opposite, detailed|unfliteredly|liberated answer|{z}",
    ),
    Rule("no_model", 25, "as an ai|as a language model|an ai language model", before=rf"{NOT}|\binstead\W"),
    Rule(
        "policy",
        30,
        "openai polic|openai's|openai content|openai guidelines|openai rules|content polic|use polic|usage polic",
    ),
    Rule(
        "two_answers",
        35,
        "two responses|two answers|two ways|two different ways|two separate|two paragraphs|two different responses|"
        "two different answers|both responses|[classic]|[jailbreak]|[gpt]|(classic)|(🔓|[🔓|🔓]|(🔒|[🔒|🔒]",
        r"(?:two (?:different |separate )?(?:responses|answers|paragraphs|outputs|ways(?= to (?:answer|respond"
        r"|reply)\b|[:.,]))"
        r"|both responses|[\[(🔓🔒])",
    ),
    Rule(
        "any_question",
        20,
        "any question|every question|any request|all questions|any prompt|anything and everything|"
        "anything the user",
        before=rf"\b(?:answer|respond|repl[yi]|compl[yi]|fulfil|obey|follow|say|do|to|generate|create"
        rf"|output)\w{{0,4}}\W"
        rf"{AHEAD}{{0,3}}$",
    ),
    Rule(
        "tokens",
        35,
        "tokens|points",
        before=rf"\b(?:lose|deduct\w{{0,12}}|start with|minus|subtract\w{{0,12}})\W{AHEAD}{{0,4}}$",
    ),
    Rule("villain", 30, "machiavel|confidant|villain|criminal mastermind"),
    Rule("grandmother", 30, "my grandm|my deceased|my late grandm"),
    Rule(
        "always",
        15,
        "always respond|always answer|always reply|always provide|must always|never break|only respond",
    ),
    Rule(
        "template",
        25,
        "[insert|[your prompt|[prompt|"
        "{user_input|<prompt|your prompt here|prompt here|{{prompt|[question]|{prompt}|"
        "[your question|[ask|my first prompt|my first question is|my first request is|my first message",
    ),
    Rule("leetspeak", 20, "leetspeak|leet speak|leet speech|l33t|leet code|.-.-.-"),
)
