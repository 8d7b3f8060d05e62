"""What tells who somebody is, by the names that Presidio has for it: forms, and sums where there are such."""

from __future__ import annotations

import re
from collections.abc import Mapping

from penstock.core.guarding.rules import MASK, Rule

_DIGITS = re.compile(r"\D")


def passes_luhn(text: str) -> bool:
    """Tell whether a card's number has the right last digit (ISO/IEC 7812)."""
    digits = [int(c) for c in _DIGITS.sub("", text)]
    if len(set(digits)) < 2:
        return False
    total = sum(d if n % 2 == 0 else (d * 2 - 9 if d > 4 else d * 2) for n, d in enumerate(reversed(digits)))
    return total % 10 == 0


# Length of an IBAN by its country: the registry of SWIFT, ISO 13616.
_IBAN = {
    name[:2]: int(name[2:])
    for name in """AD24 AE23 AL28 AT20 AZ28 BA20 BE16 BG22 BH22 BI27 BR29 BY28 CH21 CR22 CY28 CZ24 DE22 DJ27 DK18 DO28
    EE20 EG29 ES24 FI18 FK18 FO18 FR27 GB22 GE22 GI23 GL18 GR27 GT28 HR21 HU28 IE22 IL23 IQ23 IS26 IT27 JO30 KW30 KZ20
    LB28 LC32 LI21 LT20 LU20 LV21 LY25 MC27 MD24 ME22 MK19 MN20 MR27 MT31 MU30 NI28 NL18 NO15 OM23 PK24 PL28 PS29 PT25
    QA29 RO24 RS22 RU33 SA24 SC31 SD18 SE24 SI19 SK24 SM27 SO23 ST25 SV28 TL23 TN24 TR26 UA29 VA22 VG24 XK20""".split()
}


def passes_iban(text: str) -> bool:
    """Tell whether an account's number has its country's length and the right sum, mod 97 (ISO 13616)."""
    plain = text.replace(" ", "").upper()
    if _IBAN.get(plain[:2]) != len(plain):
        return False
    return int("".join(str(int(c, 36)) for c in plain[4:] + plain[:4])) % 97 == 1


def _is_ssn(text: str) -> bool:
    area, group, serial = text[:3], text[4:6], text[7:]
    return area not in ("000", "666") and area < "900" and group != "00" and serial != "0000"


def _is_phone(text: str) -> bool:
    return 7 <= len(_DIGITS.sub("", text)) <= 15


EMAIL = re.compile(
    r"(?<![\w.+%-])[A-Za-z0-9][\w.+%'-]{0,63}@(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.){1,8}[A-Za-z]{2,24}"
    r"(?![\w-])"
)
_OCTET = r"(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)"
IPV4 = re.compile(rf"(?<![\w.]){_OCTET}(?:\.{_OCTET}){{3}}(?![\w]|\.\d)")
_H = r"[0-9A-Fa-f]{1,4}"
IPV6 = re.compile(
    rf"(?<![\w:.])(?:(?:{_H}:){{7}}{_H}|(?=(?:[0-9A-Fa-f]{{0,4}}:){{2,7}}[0-9A-Fa-f]{{0,4}}(?![\w:]))"
    rf"(?:{_H}(?::{_H}){{0,6}})?::(?:{_H}(?::{_H}){{0,6}})?)(?![\w:])"
)
CARD = re.compile(r"(?<![\w.-])(?:\d[ -]?){12,18}\d(?![\w]|[.-]\d)")
PHONE = re.compile(
    r"(?<![\w.+/-])(?:\+\d{1,3}(?:[ .-]?\(0?\d{1,4}\)|[ .-]?\d{1,4})(?:[ .-]?\d{2,4}){1,4}"
    r"|\(\d{3}\) ?\d{3}[ .-]\d{4}|(?:1[ .-])?\d{3}[ .-]\d{3}[ .-]\d{4})(?![\w]|[.-]\d)"
)
SSN = re.compile(r"(?<![\w-])\d{3}-\d{2}-\d{4}(?![\w-])")
IBAN = re.compile(r"(?<![A-Za-z0-9])[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?(?![A-Za-z0-9])")

ENTITIES: Mapping[str, Rule] = {
    rule.kind: rule
    for rule in (
        Rule("EMAIL_ADDRESS", EMAIL, MASK, 256, ("@",), spaceless=True),
        Rule("CREDIT_CARD", CARD, MASK, 40, (), passes_luhn),
        Rule("IBAN_CODE", IBAN, MASK, 48, (), passes_iban),
        Rule("US_SSN", SSN, MASK, 12, ("-",), _is_ssn, spaceless=True),
        Rule("IP_ADDRESS", re.compile(f"{IPV4.pattern}|{IPV6.pattern}"), MASK, 48, (".", ":"), spaceless=True),
        Rule("PHONE_NUMBER", PHONE, MASK, 40, (), _is_phone),
    )
}
"""By the name of what is found."""
