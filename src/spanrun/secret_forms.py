"""What secrets look like in texts: the one list of patterns that `redact` goes by."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from spanrun.secret_words import (
    HIDDEN,
    Instead,
    Rule,
    hide,
    hide_after_header,
    hide_argument,
    hide_assigned,
    hide_at_host,
    hide_glued,
    hide_login,
    hide_shaped,
    hide_spoken,
)

# --- names, and what may stand around them

# By their first letters, of which the case is spelt out: so the regex engine skips most
# of a text at once, which makes it six times faster.
_NAMES: Final = (
    r"(?:(?-i:[tT])oken|(?-i:[pP])(?:ass(?:word|phrase|code|wd)|wd|rivate[_-]?key)"
    r"|(?-i:[sS])(?:ecret(?:[_-]?key)?|(?:igning|ession|ubscription)[_-]?key"
    r"|hared[_-]?access[_-]?signature)"
    r"|(?-i:[aA])(?:pi|cc(?:ess|ount)|uth)[_-]?key(?:[_-]?id)?"
    r"|(?-i:[cC])(?:redentials?|onsumer[_-]?key)|(?-i:[eE])ncryption[_-]?key"
    r"|(?-i:[fF])unctions[_-]?key|(?-i:[lL])icen[cs]e[_-]?key|(?-i:[mM])aster[_-]?key)"
    r"(?:\d|[_-]?(?:value|confirm(?:ation)?))?"
)
_HEADERS: Final = rf"(?:[\w-]{{0,64}}{_NAMES}|(?:proxy-)?authorization|(?:set-)?cookie)"
_PASSWORD: Final = r"(?-i:[pP])(?:ass(?:word|phrase|code|wd)|wd)"  # noqa: S105
_SAYS: Final = ("key", "secret", "token", "pass", "pwd", "credential", "signature")
_SIGNS: Final = ("=", ":", "->", "<-", "%3")
_VALUES: Final = ("value", "content", "default")
_LETTERS: Final = (
    *("sk-", "sk_", "pk-", "pk_", "rk-", "rk_", "ghp_", "gho_", "ghu_", "ghs_", "ghr_"),
    *("github_pat", "glpat-", "xox", "hf_", "aiza", "akia", "asia", "ya29", "eyj"),
    *("npm_", "pypi-", "hvs.", "gocspx", "sg.", "inf-", "1//0", "whsec_"),
)

_QUOTE: Final = r"(?:\\*['\"]|&(?:quot|apos|#0?3[49]);|%22|\\+u002[27])"
"""In JSON inside of JSON it has backslashes; in HTML and in URLs it is escaped."""
_S: Final = r"(?:\n[ +]{0,32}\||\s|\\{1,4}[nrt])"
"""White space, in JSON and in a repr as well, and where a group of errors is shown."""
_IS: Final = rf"{_S}*(?::=|==?|:|=>|<-|->|%3[dDaA]){_S}*"
_PREFIX: Final = r"[bBrRuUfFN]{0,2}"
_NOT_AGAIN: Final = r"(?!\[redacted\])"

# What newer rules are put together from. They find the secret by its group's name.
_START: Final = r"(?:\A|[\s'\"\[(`])"
_GLUED: Final = r"(?:\\*['\"],)?[\s=]{0,4}"  # to its option, in a line or in a list
_NEXT: Final = r"(?:\\*['\"],)?[\s=]{1,4}"
_Q: Final = r"\\*['\"]"
_OPEN: Final = r"(?:\\*['\"`]|[‘“]|\\{1,4}u201[8c])"
_QUOTED: Final = r"(?P<quoted>[^'\"`’”\\\n]+)"
_WORD: Final = r"(?P<secret>[^\s'\"`\\]{3,})"
_INSIDE: Final = rf"{_Q}(?P<quoted>[^'\"\\\n]+)"
_SPOKEN: Final = (
    rf"(?:{_PASSWORD}|(?-i:[tT])oken|(?-i:[pP])rivate[\s_-]?key"
    r"|(?-i:[sS])(?:ecret|(?:igning|ession|ubscription)[\s_-]?key)"
    r"|(?-i:[aA])(?:uthorization|(?:pi|cc(?:ess|ount)|uth)[\s_-]?key))"
)
_TOLD: Final = r"(?P<verb>\s{1,4}(?:is|was|to|provided|used|given))?"


# --- the rules


def _rule(
    hints: tuple[str, ...], pattern: str, instead: Instead, also: tuple[str, ...] = ()
) -> Rule:
    return Rule(frozenset(hints), also, pattern, instead)


def _blocks() -> Iterator[Rule]:
    """``password: |``, and the value in the next line, of YAML."""
    yield _rule(
        _SAYS,
        rf"(?i){_NAMES}(?:{_Q})?\s{{0,4}}:\s{{0,4}}[|>][+-]?{_S}{{2,64}}"
        r"(?P<secret>[^\s'\"\\][^'\"\n\\]*)",
        hide,
        ("|", ">"),
    )


def _markup(
    hint: str, opens: str, closes: str, first: str, inside: str
) -> Iterator[Rule]:
    """What is in a tag: ``<password>``, ``<property name="password">``, a plist's."""
    tag = (
        rf"{opens}(?:[^<>&\n]{{0,96}}?|key{closes}[\w.:-]{{0,64}}){_NAMES}(?:{_QUOTE})?"
        rf"(?:{_S}[^<>]{{0,256}}?)?(?:{opens}/key{closes}{_S}{{0,64}}{opens}string)?{closes}"
    )
    cdata = rf"{_S}{{0,64}}{opens}!\[CDATA\[(?P<quoted>.{{1,2048}}?)\]\]{closes}"
    # Where a line or the text breaks off in it: one with a space is a placeholder.
    ended = rf"{_S}{{0,64}}(?P<secret>{inside}+){opens}/"
    broken_off = rf"{first}[^<&\\\n]*"
    yield _rule(
        _SAYS,
        rf"(?is){tag}(?:{cdata}|{ended}|(?P<rest>{broken_off})(?:\Z|{_S}|{_Q}))",
        hide,
        (hint,),
    )


def _pairs() -> Iterator[Rule]:
    """``name="password" value="x"``, of markup, JSON or YAML, in either order."""
    more = rf"(?:[\w-]{{1,32}}={_Q}[^'\"<>\n]{{0,64}}{_Q}\s{{1,8}}){{0,4}}"
    name = (
        rf"(?:name|key|header|id)(?:{_Q})?\s{{0,4}}[:=]\s{{0,4}}(?:{_Q})?"
        rf"[\w.:-]{{0,64}}(?:{_NAMES}|authorization)"
    )
    value = rf"(?:{'|'.join(_VALUES)})(?:{_Q})?\s{{0,4}}[:=]\s{{0,4}}"
    between = rf"(?:{_Q})?(?:{_S}|[,;]){{1,40}}(?:{_Q})?{more}(?:{_Q})?"
    says = (*_SAYS, "auth")
    yield _rule(
        says,
        rf"(?i){name}{between}{value}(?:{_INSIDE}|(?P<secret>[^\s'\"\\,;}}]+))",
        hide,
        _VALUES,
    )
    yield _rule(
        says,
        rf"(?i)\b{value}{_Q}(?P<secret>[^'\"\\\n]{{1,512}}){between}{name}",
        hide,
        _VALUES,
    )


def _arguments() -> Iterator[Rule]:
    """Of programs: options by their names, and those of some well-known programs."""
    named = rf"{_START}--?[\w-]{{0,64}}{_NAMES}{_NEXT}"
    login = rf"{_START}(?:-[uU]{_GLUED}|--(?:proxy-)?user(?:name)?{_NEXT})"
    colon = r"(?P<name>[^\s:'\"\\]{0,64}):"
    upto = r"[^\n|;&]{0,256}?[\s'\"]"
    by_program = (
        rf"\b(?:(?:sshpass|mongo[a-z]{{0,10}}|(?:docker|podman|helm)\s[a-z ]{{0,16}}"
        rf"login)\b{upto}-p|redis-cli\b{upto}-a|ldap[a-z]{{1,12}}\b{upto}-w"
        rf"|(?:sqlcmd|mosquitto_[a-z]{{1,8}})\b{upto}-P){_GLUED}"
    )
    programs = ("pass", "mongo", "login", "redis-cli", "ldap", "sqlcmd", "mosquitto_")
    mysql = rf"\b(?:mysql|mariadb)[\w-]{{0,32}}{upto}-p"
    oracle = r"(?:jdbc:oracle:[a-z]{1,8}:|sqlplus\s{1,4}(?:-\w{1,4}\s)?)"
    yield _rule(_SAYS, rf"(?i){named}(?:{_INSIDE}|{_WORD})", hide_argument, ("-",))
    yield _rule(
        ("-u",),
        rf"{login}(?:{_Q}{colon}(?P<quoted>[^'\"\\\n]+)"
        rf"|{colon.replace('name', 'word')}(?P<secret>[^\s'\"\\]+))",
        hide_login,
    )
    yield _rule(
        programs,
        rf"{by_program}(?:{_INSIDE}|{_WORD})",
        hide_argument,
        ("-p", "-a", "-w"),
    )
    yield _rule(("mysql", "mariadb"), rf"{mysql}(?:{_INSIDE}|{_WORD})", hide_glued)
    yield _rule(
        ("oracle", "sqlplus"),
        rf"(?i){oracle}[\w$#]{{1,64}}/(?P<secret>[^\s@'\"]+)",
        hide,
    )
    yield _rule(
        ("pass",),
        rf"\s-pass(?:in|out)?\s{{1,4}}(?:{_Q})?pass:(?P<secret>[^\s'\"]+)",
        hide,
        ("pass:",),
    )


def _prose() -> Iterator[Rule]:
    """Without a colon or a sign of equality, as people and servers write."""
    spoken = rf"(?P<named>{_SPOKEN}){_TOLD}\s{{0,2}}[:=]?\s{{1,4}}"
    said = rf"{_PASSWORD}(?:\s{{1,4}}(?:is|was|to|as|set\sto|changed\sto))?\s{{1,4}}"
    header = rf"\bx-[\w-]{{0,32}}(?:{_NAMES}|key|auth)(?:[ \t]|\\{{1,4}}t){{1,4}}"
    auth, spaces = (*_SAYS, "auth"), (" ", "\t", "\n")
    yield _rule(auth, rf"(?i){header}{_WORD}", hide_after_header, ("x-",))
    yield _rule(("pass", "pwd"), rf"(?i){said}{_OPEN}{_QUOTED}", hide, spaces)
    yield _rule(auth, rf"(?i){spoken}(?:{_OPEN}{_QUOTED}|{_WORD})", hide_spoken, spaces)
    yield _rule(
        ("phrase", "mnemonic"),  # of many words, to the end of the line
        r"(?i)(?:passphrase|(?:seed|recovery)[ _-]phrase|mnemonic)\s{0,4}[:=]\s{0,4}"
        r"(?P<secret>[^'\"\s,;&\\<][^'\"\n,;&\\<]*)",
        hide,
    )
    by = r"identified\s{1,4}(?:with\s\S{1,64}\s{1,4})?by\s{1,4}(?:password\s{1,4})?"
    yield _rule(("identified",), rf"(?i){by}{_INSIDE}", hide)
    yield _rule(
        ("identified",), rf"(?i)\buser\s{{1,4}}\S{{1,128}}\s{{1,4}}{by}{_WORD}", hide
    )
    yield _rule(
        ("pass",),  # .netrc, redis.conf
        r"(?:\bmachine\s{1,4}\S{1,256}\s{1,4}login\s{1,4}\S{1,128}\s{1,4}password"
        r"|\brequirepass)\s{1,4}(?P<secret>\S+)",
        hide,
    )


def _assignments() -> Iterator[Rule]:
    """What has a sign of its own."""
    yield _rule(
        ("@",),
        r"\b(?P<name>[\w.+-]{1,64}):(?P<secret>[^\s:@/'\"<>()\[\]{},;]{3,128})"
        r"@(?:[a-zA-Z][\w-]{0,62}\.[a-zA-Z]|\d{1,3}\.\d{1,3}\.|localhost\b|[a-z]{1,8}\("
        r"|\w[\w-]{0,62}[:/])",
        hide_at_host,
        (":",),
    )
    yield _rule(
        ("pass",),
        rf"(?i)(?:\A|[\s?&;,{{(\[_'\"-])pass(?:{_Q})?\s{{0,2}}[=:]\s{{0,2}}(?:{_Q})?"
        r"(?P<secret>[^\s'\",;&)}\]]{3,})",
        hide_assigned,
        _SIGNS,
    )
    yield _rule(
        ("auth",),  # requests.get(…, auth=("user", "password"))
        rf"(?i)auth\s{{0,2}}=?\s{{0,2}}\(\s{{0,2}}{_Q}[^'\"\n]{{0,128}}{_Q}\s{{0,2}},\s{{0,2}}"
        rf"{_INSIDE}",
        hide,
        ("(",),
    )
    yield _rule(
        ("signature",),
        rf"(?i)(?:\A|[\s,?&;])signature\s{{0,2}}[=:]\s{{0,2}}(?:{_Q})?"
        r"(?P<secret>[^\s'\",;&]{16,})",
        hide,
    )
    yield _rule(
        ("id=",),
        r"(?i)\b(?:phpsessid|jsessionid|asp\.net_sessionid|connect\.sid)="
        r"(?P<secret>[^\s'\";,&]{8,})",
        hide,
    )
    yield _rule(
        ("cookie",), r"(?i)\bcookie[ \t]{1,4}[\w.-]{1,64}=(?P<secret>\S+)", hide_shaped
    )


_WITH_SIGNS: Final = tuple(
    _rule(hints, pattern, instead, tuple(also))
    for hints, pattern, instead, *also in (
        (
            ("key",),
            (
                r"(?s)-----BEGIN [A-Z ]*PRIVATE KEY(?: BLOCK)?-----"
                r".*?(?:-----END [A-Z ]*PRIVATE KEY(?: BLOCK)?-----|\Z)"
            ),
            HIDDEN,
        ),
        # user:password@, or a token alone, in a URL
        (("@",), r"(?<=://)[^/\s'\"<>]+(?=@)", HIDDEN),
        # a whole webhook is a secret
        (
            ("hooks", "telegram"),
            (
                r"(?i)((?:hooks\.slack\.com/services|/api/webhooks|api\.telegram\.org)/)"
                r"[\w:/-]{8,}"
            ),
            rf"\1{HIDDEN}",
        ),
        # Authorization: …, also in the text of an exception or a dict
        (
            ("auth",),
            (
                rf"(?i)(authorization(?:{_QUOTE})?{_IS}{_PREFIX}(?:{_QUOTE})?)"
                r"(?:digest|hawk|oauth|aws4-hmac-sha256)\s[^\r\n]+"
            ),
            rf"\1{HIDDEN}",
        ),
        (
            ("auth",),
            (
                rf"(?i)(authorization(?:{_QUOTE})?{_IS}{_PREFIX}(?:{_QUOTE})?"
                rf"(?:[a-z]+\s+)?+){_NOT_AGAIN}[^\s'\",;\\]{{3,}}"
            ),
            rf"\1{HIDDEN}",
        ),
        (
            ("bearer", "basic"),
            r"\b((?i:bearer|basic))\s+(?=\S*(?:[\d=]|[a-z][A-Z]))[\w.~+/=-]{6,}",
            rf"\1 {HIDDEN}",
        ),
        (
            ("cookie",),
            rf"(?i)\b((?:set-)?cookie(?:{_QUOTE})?\s*:\s*)[^\r\n]+",
            rf"\1{HIDDEN}",
        ),
        # ('x-api-key', '…'), as lists of headers are shown
        (
            (*_SAYS, "auth", "cookie"),
            (
                rf"(?i)([(\[]\s*{_PREFIX}{_QUOTE}{_HEADERS}{_QUOTE}\s*,\s*{_PREFIX})"
                rf"({_QUOTE}){_NOT_AGAIN}(?:(?!\2)(?:\\.|[^\\\n]))++(\2)?"
            ),
            rf"\1\2{HIDDEN}\3",
            "(",
            "[",
        ),
        # "token": "…", quoted, to the closing quote or the end of the line
        (
            _SAYS,
            (
                rf"(?i)({_NAMES}(?:{_QUOTE})?{_IS}{_PREFIX})"
                rf"({_QUOTE}){_NOT_AGAIN}(?:(?!\2)(?:\\.|[^\\\n]))++(\2)?"
            ),
            rf"\1\2{HIDDEN}\3",
            *_SIGNS,
        ),
        # api_key=…, password: …
        (
            _SAYS,
            rf"(?i)({_NAMES}(?:{_QUOTE})?{_IS}){_NOT_AGAIN}[^\s'\"&,;)}}\]]{{3,}}",
            rf"\1{HIDDEN}",
            *_SIGNS,
        ),
        # what is called shortly in a query
        (
            ("key=", "sig=", "signature=", "auth=", "jwt=", "sas=", "id=", "otp="),
            (
                r"(?i)([?&;](?:[\w-]*signature|key|sig|auth|jwt|sas|session(?:_?id)?|sid"
                rf"|otp)=){_NOT_AGAIN}[^\s'\"&#]{{6,}}"
            ),
            rf"\1{HIDDEN}",
        ),
        (
            ("code=",),
            rf"(?i)([?&]code=){_NOT_AGAIN}[^\s'\"&#]{{16,}}",
            rf"\1{HIDDEN}",
        ),
        # keys that are known by their first letters
        (
            _LETTERS,
            (
                r"\b(?:[spr]k[-_](?=[\w-]{0,200}\d)[\w-]{12,}|gsk_\w{20,}|whsec_\w{16,}"
                r"|gh[pousr]_\w{12,}|github_pat_\w{12,}|glpat-[\w-]{12,}"
                r"|xox[a-z]-[\w-]{10,}|hf_\w{16,}|npm_\w{20,}|pypi-[\w-]{16,}"
                r"|hvs\.[\w-]{16,}|GOCSPX-[\w-]{16,}|SG\.[\w-]{16,}\.[\w-]{16,}"
                r"|inf-[0-9a-f]{8}-[0-9a-f-]{20,}|1//0[\w-]{10,}"
                r"|AIza[\w-]{20,}|(?:AKIA|ASIA)[A-Z0-9]{12,}|ya29\.[\w.-]{6,}"
                r"|eyJ[\w-]{6,15}\.[\w-]+(?:\.[\w-]*)?|eyJ[\w-]{16,}(?:\.[\w-]*)*)"
            ),
            HIDDEN,
        ),
    )
)

RULES: Final = (
    *_blocks(),  # before what would take the bar for a value
    *_WITH_SIGNS,
    *_markup("<", "<", ">", r"[^<\s]", "[^<]"),
    *_markup("&lt;", "&lt;", "&gt;", r"[^<&\s]", "(?:[^<&]|&[^l<&])"),
    *_markup(  # escaped for JSON as Go does it
        "u003c",
        r"\\{1,4}u003c",
        r"\\{1,4}u003e",
        r"[^<\\\s]",
        r"(?:[^<\\]|\\[^u\\]|\\{1,4}u002[0-9a-f])",
    ),
    *_pairs(),
    *_arguments(),
    *_prose(),
    *_assignments(),
)

HINTS: Final = tuple(sorted({hint for rule in RULES for hint in rule.hints}))
"""Text without any of them, which is most, needs no rule."""

SECRET_KEY: Final = re.compile(rf"(?i)(?:.*[.\s])?{_HEADERS}", re.DOTALL)
"""Attributes whose key alone says that the value is for nobody's eyes."""
