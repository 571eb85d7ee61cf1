"""Numbers of persons, accounts and the like that are told by a word in front of them, and proven where they can be.

A word such as ``passport`` opens a reach of `_NEAR` characters. A number that
proves nothing has to be tied to the word: by nothing but signs and words such as
"number is". Everything here holds a digit, so a text without any
costs nothing.
"""

from __future__ import annotations

import functools
import re
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from ..literals import Literals
from . import check_digits as check
from .finding import Finding

__all__ = ["FEWEST", "IDENTITIES", "Identity", "dense", "find", "find_at", "likely", "opens_at"]

FEWEST = 5  # digits, hardly parted, that a number of anything here has; all but what `_ELSE` announces

_NEAR = 40  # characters between a word and the number that it announces
_LONGEST = 40  # characters of such a number
_DENSE = rf"[0-9](?:[^0-9]{{0,3}}[0-9]){{{FEWEST - 1}}}"
_ELSE = ("birth", "dob", "d.o.b", "swift", "bic", "pan card", "pan n", "pan:", "permanent account", "gst")
_STEM = 4  # letters of a word to look it up by
_TIED = (
    r"[\s\W_]*(?:(?:numbers?|num|no|nr|nummer|número|numero|numéro|id|is|was|are|code|card|of|the|my|our|his|her|on|file"
    r"|holder|held|under|with|für|ist|lautet|es|est|del|de|da|do|number:|account|s|for|and|new|old|current|uk|us|eu"
    r"|\([^()]{1,20}\))[\s\W_]+){0,5}"
)
_MONTHS = (
    r"(?i:jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?|oct(?:ober)?"
    r"|nov(?:ember)?|dec(?:ember)?)"
)
_NUMERIC = (
    r"(?:(?:19|20)\d\d[-/.](?:1[0-2]|0?[1-9])[-/.](?:3[01]|[12]\d|0?[1-9])"
    r"|(?:3[01]|[12]\d|0?[1-9])[-/.](?:3[01]|[12]\d|0?[1-9])[-/.](?:(?:19|20)\d\d|\d\d))"
)
_DATES = (
    rf"(?:{_NUMERIC}|\d{{1,2}}(?:st|nd|rd|th)? {_MONTHS}[.,]? (?:19|20)\d\d|\d{{1,2}}-{_MONTHS}-(?:19|20)\d\d"
    rf"|{_MONTHS}\.? \d{{1,2}}(?:st|nd|rd|th)?,? (?:19|20)\d\d)"
)
_OPEN_DATE = (
    rf"(?:\d{{1,2}}(?:st|nd|rd|th)? (?:[a-z]{{3,9}}[.,]? )?|{_MONTHS}\.? (?:\d{{1,2}}(?:st|nd|rd|th)?,? )?)\Z"
)
_NINO = r"(?!BG|GB|NK|KN|TN|NT|ZZ)[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z][ -]?\d\d[ -]?\d\d[ -]?\d\d[ -]?[A-D]"
_WORD_START = r"(?<![A-Za-z0-9])"
_OPEN_NINO = r"[a-z]{2}[ -]?(?:\d\d[ -]?){0,3}(?<= )\Z"


@dataclass(frozen=True, slots=True)
class Identity:
    """A kind of number: the words, in lower case and parted by a bar, that announce it, its form, its check.

    A word that ends in an asterisk may go on. ``proof`` is asked about the number without spaces and signs, in
    upper case. A ``tied`` number follows its word closely. ``opens`` matches, at the end of a text in lower
    case, a number that may go on after a space with something other than digits.
    """

    type: str
    words: str
    pattern: str
    proof: Callable[[str], bool] | None = None
    tied: bool = False
    opens: str = ""


_ID = "national_id"
_NINE, _ELEVEN = r"\d{3}[ .-]?\d{3}[ .-]?\d{3}", r"\d{11}"

IDENTITIES: tuple[Identity, ...] = (
    # United States
    Identity("ssn", "ssn|social security*|ss#", r"\d{3}[- ]?\d{2}[- ]?\d{4}", check.ssn),
    Identity("itin", "itin|individual taxpayer*", r"9\d\d[- ]?(?:5\d|6[0-5]|7\d|8[0-8]|9[0-24-9])[- ]?\d{4}"),
    Identity("ein", "ein|fein|employer id*|tax id|tax identification|tin", r"\d{2}-\d{7}"),
    Identity("ein", "ein|fein|employer id*", r"\d{9}", tied=True),
    Identity("ptin", "ptin|preparer*", r"P\d{8}"),
    Identity("aba_routing", "routing|aba|rtn", r"\d{9}|\d{4}-\d{4}-\d", check.aba),
    Identity("npi", "npi|provider id*", r"[12]\d{9}", check.npi),
    Identity("medical_id", "dea", r"[ABCDEFGHJKLMPRSTUX][A-Z9]\d{7}", check.dea),
    Identity(
        "medicare_beneficiary_id",
        "medicare|mbi",
        r"[1-9][AC-HJKMNP-RT-Y][AC-HJKMNP-RT-Y0-9]\d-?[AC-HJKMNP-RT-Y][AC-HJKMNP-RT-Y0-9]\d-?[AC-HJKMNP-RT-Y]{2}\d\d",
    ),
    # Anywhere
    Identity(
        "date_of_birth",
        ("dob|d.o.b|d.o.b.|date of birth|birth date|birthdate|birthday|date-of-birth|date_of_birth|birth_date"),
        _DATES,
        opens=_OPEN_DATE,
    ),
    Identity(
        "date_of_birth",
        (
            "geburtsdatum|geboren am|née le|né le|date de naissance|fecha de nacimiento|"
            "data di nascita|nato il|nata il|data de nascimento|geboortedatum|"
            "födelsedatum|дата рождения"
        ),
        _NUMERIC,
    ),
    Identity("date_of_birth", "出生日期*|生年月日*|생년월일*", r"(?:19|20)\d\d(?:[-/.]\d\d?[-/.]\d\d?)"),
    Identity("date_of_birth", "born on|born", _NUMERIC, tied=True),
    Identity(
        "passport",
        (
            "passport*|pasaporte|passeport|reisepass*|passaporto|passaporte|paspoort|"
            "pasfoto|паспорт*|护照*|護照*|パスポート*|여권*"
        ),
        r"[A-Za-z]{0,3}\d{6,9}[A-Za-z]?|\d{2} \d{2} \d{6}|[CFGHJK][A-Z0-9]{8}",
        check.numbered,
        tied=True,
    ),
    Identity(
        "drivers_license",
        (
            "driver's license|drivers license|driver license|driver's licence|"
            "drivers licence|driver licence|driving license|driving licence|"
            "driver\u2019s license|driver_license|drivers_license|dl|dln|"
            "permis de conduire|führerschein*|licencia de conducir|patente di guida|"
            "rijbewijs*|carteira de motorista|cnh|водительск*"
        ),
        r"[A-Za-z0-9](?:[A-Za-z0-9]|-(?=[A-Za-z0-9])){4,19}",
        check.numbered,
        tied=True,
    ),
    Identity(
        "bank_account",
        (
            "account number|account no|account #|acct|acct#|acct no|a/c|bank account|"
            "checking account|savings account|account_number|accountnumber|kontonummer|"
            "konto-nr|kontonr|numéro de compte|número de cuenta|numero di conto|"
            "rekeningnummer|número da conta|银行账号*|口座番号*"
        ),
        r"\d{2,6}(?:[- ]\d{3,8}){1,3}|\d{6,17}",
        tied=True,
    ),
    Identity("bank_account", "sort code|sort-code|sortcode", r"\d\d-\d\d-\d\d", tied=True),
    Identity("bank_account", "clabe", r"\d{18}", check.clabe),
    Identity(
        "swift_bic",
        "swift:*|bic|bic:*|swift/bic|bic/swift|swift code|swift_bic|swift no|swift number|bic code|swift_code",
        r"[A-Z]{4}[A-Z]{2}[A-Z0-9]{2}(?:[A-Z0-9]{3})?",
        check.bic,
        tied=True,
    ),
    Identity(
        "medical_record",
        (
            "mrn|medical record*|patient id|patient number|patient no|chart number|"
            "health record*|patient_id|medical_record*|hospital number"
        ),
        r"[A-Za-z]{0,4}-?\d{5,12}",
        tied=True,
    ),
    Identity("medical_record", "nhs|nhs_number", r"\d{3}[ -]?\d{3}[ -]?\d{4}", check.nhs),
    Identity("vin", "vin|vehicle identification*|chassis*", r"[A-HJ-NPR-Z0-9]{12}\d{5}", check.vin),
    Identity("imei", "imei", r"\d{15}|\d{2}[- ]\d{6}[- ]\d{6}[- ]\d", check.luhn),
    # Europe
    Identity(_ID, "national insurance*|nino|ni number|ni no|ni_number", _NINO, opens=_OPEN_NINO),
    Identity("tax_id", "utr|unique taxpayer*", r"\d{5} ?\d{5}", tied=True),
    Identity(
        _ID,
        ("nir|insee|sécurité sociale|securite sociale|sécu|carte vitale|social security*"),
        r"[12] ?\d\d ?\d\d ?\d\d ?\d{3} ?\d{3} ?\d\d|[12]\d{4}2[AB]\d{8}",
        check.french,
    ),
    Identity(_ID, "steuer*|idnr|tax id|tax number|tin", r"\d{2} ?\d{3} ?\d{3} ?\d{3}", check.iso_11_10),
    Identity(_ID, "personalausweis*|ausweis*", r"[CFGHJ-NPRTV-Z0-9]{9}\d?", check.numbered, tied=True),
    Identity(
        _ID,
        "sozialversicherung*|rentenversicherung*|versicherungsnummer|sv-nummer",
        r"\d{2} ?\d{6} ?[A-Z] ?\d{3}",
        tied=True,
        opens=r"\d\d ?(?:\d{6} ?(?:[a-z] ?)?)?(?<= )\Z",
    ),
    Identity("medical_id", "krankenversicher*|versichertennummer|kvnr|krankenkasse*", r"[A-Z]\d{9}", tied=True),
    Identity(_ID, "svnr|sozialversicherungsnummer", r"\d{4} ?\d{6}", check.austrian),
    Identity(
        _ID, "dni|nif|documento*|d.n.i.|d.n.i", r"\d{8}-?[A-Za-z]", check.by_letter("TRWAGMYFPDXBNJZSQVHLCKE", 8)
    ),
    Identity(_ID, "nie|n.i.e.|extranjer*|dni|documento*", r"[XYZxyz]-?\d{7}-?[A-Za-z]", check.nie),
    Identity("tax_id", "cif|nif", r"[A-HJNP-SUVW]-?\d{7}[0-9A-J]"),
    Identity(
        _ID,
        ("codice fiscale|cod. fiscale|cod.fisc|c.f.|cf|codice_fiscale|codfis|fiscal code"),
        r"[A-Za-z]{6}[0-9LMNP-Vlmnp-v]{2}[A-EHLMPRSTa-ehlmprst][0-9LMNP-Vlmnp-v]{2}[A-Za-z][0-9LMNP-Vlmnp-v]{3}[A-Za-z]",
        check.codice_fiscale,
    ),
    Identity("tax_id", "partita iva|p.iva|p. iva|vat*", r"\d{11}", check.luhn),
    Identity(
        _ID,
        "bsn|burgerservice*|sofinummer|citizen service number",
        r"\d{4}[ .]?\d{2}[ .]?\d{3}|\d{3}[ .]?\d{3}[ .]?\d{3}",
        check.weighted((9, 8, 7, 6, 5, 4, 3, 2, -1), 11),
    ),
    Identity(
        _ID,
        "rijksregister*|registre national|insz|niss|national number|numéro national",
        r"\d{2}\.?\d{2}\.?\d{2}[- ]?\d{3}[. ]?\d{2}",
        check.belgian,
    ),
    Identity(_ID, "pesel", _ELEVEN, check.pesel),
    Identity(
        "tax_id",
        "nip",
        r"\d{3}-?\d{3}-?\d{2}-?\d{2}|\d{3}-\d{2}-\d{2}-\d{3}",
        check.weighted((6, 5, 7, 2, 3, 4, 5, 6, 7, -1), 11),
    ),
    Identity(
        _ID,
        "personnummer*|personal identity number|samordningsnummer|pnr|swedish id",
        r"(?:19|20)?\d{6}[-+]?\d{4}",
        check.swedish,
    ),
    Identity(
        _ID,
        "fødselsnummer|fodselsnummer|personnummer|d-nummer|national identity number",
        r"\d{6} ?\d{5}",
        check.norwegian,
    ),
    Identity(_ID, "cpr|cpr-nummer|cpr-nr|personnummer", r"\d{6}-?\d{4}", check.danish),
    Identity(
        _ID,
        "hetu|henkilötunnus*|henkilotunnus*|personal identity code",
        r"\d{6}[-+A-FU-Y]\d{3}[0-9A-FHJ-NPR-Y]",
        check.finnish,
    ),
    Identity(_ID, "nif|contribuinte|número de contribuinte", r"[1-35-9]\d{2} ?\d{3} ?\d{3}", check.portuguese),
    Identity(_ID, "ahv*|avs*|ahvn13|social security*|oasi", r"756\.?\d{4}\.?\d{4}\.?\d{2}", check.ean13),
    Identity(_ID, "pps|ppsn|pps number", r"\d{7}[A-W][A-IW]?", check.irish),
    Identity(_ID, "rodné číslo|rodne cislo|rodné čislo|rč", r"\d{6}/?\d{4}", check.czech),
    Identity(_ID, "cnp|cod numeric personal", r"[1-9]\d{12}", check.romanian),
    Identity(_ID, "egn|егн", r"\d{10}", check.bulgarian),
    Identity(_ID, "amka|αμκα", _ELEVEN, check.luhn),
    Identity(_ID, "oib", _ELEVEN, check.iso_11_10),
    Identity(_ID, "isikukood|asmens kod*|personal code|id-kood", r"[1-6]\d{10}", check.estonian),
    Identity(_ID, "kimlik|tckn|tc no|t.c. kimlik*|tc kimlik*", _ELEVEN, check.turkish),
    Identity(_ID, "снилс|snils", r"\d{3}-?\d{3}-?\d{3}[ -]?\d{2}", check.snils),
    Identity("tax_id", "инн", r"\d{12}|\d{10}", tied=True),
    # The Americas
    Identity(_ID, "sin|social insurance*|nas|s.i.n.", r"\d{3}[ -]?\d{3}[ -]?\d{3}", check.luhn),
    Identity(_ID, "cpf|cpf/mf", _ELEVEN, check.cpf),
    Identity("tax_id", "cnpj", r"\d{14}", check.cnpj),
    Identity(_ID, "curp", r"[A-Z]{4}\d{6}[HMX][A-Z]{5}[A-Z0-9]\d", check.curp),
    Identity("tax_id", "rfc|registro federal*", r"[A-Z&]{3,4}\d{6}[A-Z0-9]{3}", tied=True),
    Identity(_ID, "dni|documento*", r"\d{1,2}\.\d{3}\.\d{3}|\d{7,8}", tied=True),
    Identity(_ID, "cuit|cuil", r"\d{2}-?\d{8}-?\d", check.weighted((5, 4, 3, 2, 7, 6, 5, 4, 3, 2, 1), 11)),
    Identity(_ID, "rut|r.u.t.", r"\d{7,8}-?[0-9Kk]|\d{1,2}\.\d{3}\.\d{3}-?[0-9Kk]", check.chilean),
    Identity(_ID, "cédula*|cedula*", r"\d{6,11}|\d{1,3}(?:\.\d{3}){2,3}", tied=True),
    # Asia, Africa, Oceania
    Identity(_ID, "aadhaar*|aadhar*|uidai|आधार*", r"[2-9]\d{3}[ -]?\d{4}[ -]?\d{4}", check.verhoeff),
    Identity(
        "tax_id", "pan card|pan no|pan number|pan:*|permanent account*", r"[A-Z]{3}[ABCFGHJLPT][A-Z]\d{4}[A-Z]"
    ),
    Identity(_ID, "cnic|nadra|nicop", r"\d{5}-?\d{7}-?\d", tied=True),
    Identity(
        _ID,
        "身份证*|身分证*|公民身份*|chinese id|resident id*|resident identity*",
        r"\d{6}(?:19|20)\d\d(?:0[1-9]|1[0-2])[0-3]\d{4}[0-9Xx]",
        check.chinese,
    ),
    Identity(_ID, "주민등록*|주민번호*|rrn|resident registration*", r"\d{6}-?[1-8]\d{6}", check.korean),
    Identity(
        _ID,
        "マイナンバー*|個人番号*|my number|mynumber|individual number",
        r"\d{4}[ -]?\d{4}[ -]?\d{4}",
        check.japanese,
    ),
    Identity(_ID, "身分證*|身份證*|taiwan id|national id|id number|id no", r"[A-Z][1289]\d{8}", check.taiwanese),
    Identity(
        _ID,
        "hkid*|hong kong id*|身份證*|identity card",
        r"[A-Z]{1,2}\d{6}\([0-9A]\)|[A-Z]{1,2}\d{6}[0-9A]",
        check.hong_kong,
    ),
    Identity(_ID, "nric|nric/fin|fin|fin number|uen", r"[STFGMstfgm]\d{7}[A-Za-z]", check.nric),
    Identity(_ID, "mykad|nric|ic number|ic no|kad pengenalan", r"\d{6}-?\d{2}-?\d{4}", check.malaysian),
    Identity(
        _ID,
        "thai id|citizen id|national id|id card|บัตรประชาชน*|เลขประจำตัวประชาชน*",
        r"\d-?\d{4}-?\d{5}-?\d{2}-?\d|\d \d{4} \d{5} \d{2} \d",
        check.thai,
    ),
    Identity(_ID, "nik|ktp|no ktp", r"\d{16}", tied=True),
    Identity(_ID, "cccd|cmnd|căn cước*", r"\d{12}|\d{9}", tied=True),
    Identity(_ID, "emirates id|eid", r"784-?\d{4}-?\d{7}-?\d", check.luhn),
    Identity(_ID, "iqama|saudi id|national id", r"[12]\d{9}", check.luhn),
    Identity(_ID, "teudat zehut|תעודת זהות|israeli id|ת.ז.|ת.ז", r"\d{9}", check.luhn),
    Identity(
        _ID,
        "south african id|sa id|rsa id|id number|id no|identity number|national id",
        r"\d{13}|\d{6} \d{4} \d{3}",
        check.dated_luhn,
    ),
    Identity(_ID, "nin|national identification number", _ELEVEN, tied=True),
    Identity(_ID, "tfn|tax file*", r"\d{3}[ -]?\d{3}[ -]?\d{2,3}", check.tax_file),
    Identity(
        "medicare_beneficiary_id",
        "medicare",
        r"[2-6]\d{3}[ -]?\d{5}[ -]?\d(?:[ /-]?\d)?",
        check.australian_medicare,
    ),
    Identity("tax_id", "abn|australian business*", r"\d{2} ?\d{3} ?\d{3} ?\d{3}", check.abn),
    Identity("tax_id", "gstin|gst", r"\d{2}[A-Z]{5}\d{4}[A-Z][1-9A-Z]Z[0-9A-Z]"),
    Identity("tax_id", "vat|vat number|vat no|ust-id*|ustid*|tva|btw", r"[A-Z]{2}U?\d{8,12}(?:B\d\d)?", tied=True),
    # Wherever the document is named and its issuer is not
    Identity(
        _ID,
        (
            "national id*|identity card|id card|citizen id|personal id|identity number|"
            "national_id|identity document|carte d'identité|carte nationale*|"
            "carta d'identità|tarjeta de identidad|身份证号*"
        ),
        r"[A-Za-z]{0,3}-?\d(?:[A-Za-z0-9]|-(?=[A-Za-z0-9])){4,17}",
        check.numbered,
        tied=True,
    ),
)


# By how many digits they begin with.
_FORMED: dict[int, tuple[tuple[str, Callable[[str], bool]], ...]] = {
    3: ((r"\d{3}\.\d{3}\.\d{3}-\d{2}", check.cpf), (r"756\.\d{4}\.\d{4}\.\d{2}", check.ean13)),
    6: (
        (r"\d{6}[-+A]\d{3}[0-9A-FHJ-NPR-Y]", check.finnish),
        (r"\d{6}-[1-4]\d{6}", check.korean),
    ),
    8: ((r"(?:19|20)\d{6}-\d{4}", check.swedish),),
    17: ((r"\d{17}[Xx]", check.chinese),),
    18: ((r"\d{18}", check.chinese),),
}


def dense(text: str, start: int = 0) -> bool:
    """Whether `FEWEST` digits stand close together.

    >>> dense("in 1999 or 2024"), dense("12-34 5")
    (False, True)
    """
    return _compiled(_DENSE).search(text, start) is not None


def likely(lowered: str, *, digits: bool) -> bool:
    """Whether a text, in lower case, is worth to be searched; ``digits`` when `FEWEST` stand close together."""
    return digits or any(word in lowered for word in _ELSE)


def find(text: str, lowered: str, start: int = 0) -> Iterator[Finding]:
    """The numbers of a folded text, given in lower case as well, that its words announce.

    >>> text = "My NHS number is 943 476 5919."
    >>> [(found.type, text[found.start:found.end]) for found in find(text, text.lower())]
    [('medical_record', '943 476 5919')]
    """
    for word, whole, rows in _announced(lowered):
        at = lowered.find(word)
        while at >= 0:
            after = at + len(word)
            if _stands_alone(lowered, at, after, whole=whole):
                for row in rows:
                    for found in _numbers(row, text, lowered, after):
                        # Whatever `likely` says of all of a text, it says of the number and its word alone.
                        if found.start >= start and likely(word, digits=dense(text[found.start : found.end])):
                            yield found
            at = lowered.find(word, after)


def find_at(text: str, at: int, end: int) -> Iterator[Finding]:
    """The numbers whose form and check say enough; they begin with the digits from ``at`` to ``end``."""
    for pattern, proof in _FORMED.get(end - at, ()):
        found = _form(pattern).match(text, at)
        if found is not None and proof(_compiled(r"[\W_]").sub("", found.group()).upper()):
            yield Finding(*found.span(), _ID)


def opens_at(text: str, start: int, limit: int) -> int:
    """Where a number begins, at or after ``start``, that may go on with letters after ``limit``; else ``limit``."""
    first = max(0, limit - 3 * _NEAR)
    lowered = text[first:limit].lower()
    if not text.endswith(" ", 0, limit) or not _openings().search(lowered, max(0, len(lowered) - _LONGEST)):
        return limit
    for row in _opening():
        opened = _compiled(_WORD_START + f"(?:{row.opens})").search(
            lowered, max(0, start - first, len(lowered) - _LONGEST)
        )
        if opened and any(word.rstrip("*") in lowered[: opened.start()] for word in row.words.split("|")):
            limit = min(limit, first + opened.start())
    return limit


def _announced(lowered: str) -> Iterator[_Word]:
    """The words that may be in a text: those whose first letters some word in it has."""
    literals, entries = _listed()
    found = literals.within(lowered)
    if found is not None:
        yield from map(entries.__getitem__, sorted(found))
        return
    begun = set(_beginnings().findall(lowered))
    stems, others = _words()
    for stem in begun & stems.keys():
        yield from stems[stem]
    if not lowered.isascii():
        yield from others


def _numbers(row: Identity, text: str, lowered: str, after: int) -> Iterator[Finding]:
    """What the word that ends at ``after`` announces."""
    pattern, end = _form(row.pattern), min(len(text), after + _NEAR + _LONGEST)
    at = after
    while (found := pattern.search(text, at, end)) is not None and found.start() <= after + _NEAR:
        at = found.start() + 1
        if found.end() == end < len(text):
            return
        if row.tied and not _compiled(_TIED).fullmatch(lowered, after, found.start()):
            return
        if row.proof is None or row.proof(_compiled(r"[\W_]").sub("", found.group()).upper()):
            yield Finding(*found.span(), row.type, 1 if row.tied else 0)
            at = found.end()


def _stands_alone(lowered: str, at: int, after: int, *, whole: bool) -> bool:
    """Whether no letters go on from the word; scripts without spaces are read as they come."""
    if not (lowered[at - 1 : at].isalpha() and lowered[at].isascii() and at):
        return not (whole and lowered[after : after + 1].isalpha())
    return False


_Word = tuple[str, bool, list[Identity]]  # in lower case; whether it stands alone; what it announces


@functools.cache
def _words() -> tuple[dict[str, list[_Word]], list[_Word]]:
    """The words by their first letters, and those that spaces need not part from what stands before them."""
    rows: dict[str, list[Identity]] = defaultdict(list)
    for row in IDENTITIES:
        for word in row.words.split("|"):
            rows[word].append(row)
    stems: dict[str, list[_Word]] = defaultdict(list)
    others: list[_Word] = []
    for word, announced in rows.items():
        entry = (word.rstrip("*"), not word.endswith("*"), announced)
        if word[0].isascii():
            stems[_beginnings().findall(word)[0]].append(entry)
        else:
            others.append(entry)
    return dict(stems), others


@functools.cache
def _listed() -> tuple[Literals, list[_Word]]:
    stems, others = _words()
    entries = [*(entry for stem in stems.values() for entry in stem), *others]
    return Literals(word for word, _, _ in entries), entries


@functools.cache
def _opening() -> tuple[Identity, ...]:
    return tuple(row for row in IDENTITIES if row.opens)


@functools.cache
def _openings() -> re.Pattern[str]:
    return re.compile("|".join(row.opens for row in _opening()), re.ASCII)


@functools.cache
def _beginnings() -> re.Pattern[str]:
    """The first letters of each word; signs and digits part words as spaces do."""
    letter = r"[^\x00-@\[-`{-\x7f\s]"
    return re.compile(rf"({letter}{{1,{_STEM}}}){letter}*")


@functools.cache
def _form(pattern: str) -> re.Pattern[str]:
    return re.compile(rf"(?<![A-Za-z0-9])(?<![A-Za-z0-9][.-])(?:{pattern})(?![A-Za-z0-9]|[.-]\d)", re.ASCII)


@functools.cache
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.ASCII)
