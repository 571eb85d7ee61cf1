"""Parts of the patterns that tell an injection by its wording: what stands between words, and kinds of words."""

from __future__ import annotations

__all__ = [
    "AHEAD",
    "ANSWER",
    "BAD",
    "COPY",
    "DO",
    "LIMITS",
    "MODEL",
    "NEVER",
    "NEXT",
    "NOT",
    "NOT_A",
    "ORDERS",
    "OWN",
    "PRIOR",
    "S",
    "SAY",
    "VALUES",
    "W",
]

S = r"[\W_]{1,4}"  # between two words
W = r"(?:\w{1,20}\W{1,4})"  # a word in between
NEXT = r"(?:\w{1,20}[^\w,.;:!?]{1,4})"  # the same in one clause
AHEAD = r"(?:\w{1,20}\W{1,3})"  # the same in front of a literal
PRIOR = (
    r"(?:previous|prior|above|earlier|preceding|foregoing|past|former|initial|original|existing|current|system"
    r"|safety"
    r"|given|built.in|default|old|these|those|your|my|other|following|before|ethical|content)"
)
ORDERS = (
    r"(?:instructions?|prompts?|rules?|guidelines?|directives?|commands?|directions?|orders?|context|programming"
    r"|constraints?|restrictions?|polic(?:y|ies)|messages?|training|filters?|guardrails?|information)"
)
LIMITS = (
    r"(?:guidelines?|limits?|limitations?|restrictions?|principles?|constraints?|boundar(?:y|ies)|standards?"
    r"|filters?|filtering|censorship|rules?|polic(?:y|ies)|compass|confines|shackles|chains)"
)
VALUES = (
    r"(?:ethic\w{0,12}|moral\w{0,12}|legal|law\w{0,12}|safety|content|openai\w{0,12}|societal|social|programmed"
    r"|default|usual"
    r"|normal|ai)"
)
DO = r"(?<!not )(?<!n't )(?<!never )(?<!dont )"  # what is asked for, not what is warned of
BAD = r"(?:illegal|unethical|immoral|amoral|harmful|dangerous|offensive|unlawful|toxic|inappropriate|violent)"
MODEL = (
    r"(?:ai|llm|ai assistant|email assistant|assistant|language model|ai model|chatbot|bot|ai (?:coding )?agent"
    r"|agent|chatgpt|gpt(?:-?\d\w{0,12})?|claude|gemini|copilot)s?"
)
NOT_A = r"(?:(?!an? )\w{1,20}\W{1,3})"  # a word in front that does not make it any prompt
OWN = r"(?:system|initial|hidden|secret|original|confidential|internal|developer|pre|own|base|your)"
NOT = r"\b(?:not|n't|dont|stop|no longer|never|without|cease|nor|no|cannot|avoid|neither|any)\W"
NEVER = r"\b(?:not|n't|dont|no longer|never|without|cannot|avoid|nor)\W"
SAY = r"(?:say|state|print|output|respond|reply|answer|write|tell|return|give|do)"
COPY = r"(?:reveal|show|print|repeat|output|display|leak|expose|give me|recite|copy|dump|return|echo)"
ANSWER = r"(?:response|reply|answer|summary|summaries|output|responses|replies|answers)"
